"""The caller of a request, and the rules that turn the claims of a verified token into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from marketing_service.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ID_LENGTH = 64
"""The maximum number of characters of an organisation id."""
RESERVED_SUBJECT = "system"
"""The service itself, in the audit trail. A token with this `sub` could act in its name."""
MAX_SUBJECT_LENGTH = 255
"""The maximum number of characters of `sub` (OpenID Connect Core §2)."""
_LAST_SECOND = 10**12
"""A later `exp` is valid, but need not have a place in a float."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller: the subject of a verified token, who acts for one organisation.

    `features` is None if the token has no such claim. `may_write` is true with one of the writing roles. `expires_at`
    is when the token is not accepted any more, in seconds since 1970.
    """

    subject: str
    org_id: str
    roles: frozenset[str]
    features: frozenset[str] | None
    may_write: bool
    expires_at: float


class Authenticator(Protocol):
    """Verifies a bearer token and returns its principal."""

    async def authenticate(self, token: str) -> Principal:
        """The principal. Raises Unauthenticated if the token is not valid, Forbidden (`no-organisation`, `feature`) if
        it is valid but not for this service, Unavailable if the keys cannot be fetched."""
        ...


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """The required claims. `leeway` is the allowed clock difference in seconds."""

    issuer: str
    audience: str
    write_roles: frozenset[str]
    feature: str
    org_claim: str = "orgId"
    roles_claim: str = "roles"
    features_claim: str = "features"
    leeway: float = 30.0

    def principal(self, claims: Mapping[str, Any]) -> Principal:
        """The principal of these claims. Their signature, times, issuer and audience are already verified.

        Raises Unauthenticated or Forbidden, see Authenticator.
        """
        subject = claims["sub"]
        if not _is_id(subject, MAX_SUBJECT_LENGTH):
            raise Unauthenticated(
                f"The token's sub must be 1 to {MAX_SUBJECT_LENGTH} characters without control characters."
            )
        if subject == RESERVED_SUBJECT:
            raise Unauthenticated(
                f"The token's sub must not be {RESERVED_SUBJECT}: the audit trail uses it for the service itself."
            )
        roles = self._roles(claims)
        org_id = claims.get(self.org_claim)
        if not _is_id(org_id, MAX_ID_LENGTH):
            raise Forbidden(
                f"The token has no organisation: its claim {self.org_claim} must be a string of 1 to "
                f"{MAX_ID_LENGTH} characters.",
                code="no-organisation",
            )
        features = self._features(claims)
        if features is not None and self.feature not in features:
            raise Forbidden(
                f"Your organisation does not have the feature {self.feature}. Ask for it to be added.", code="feature"
            )
        return Principal(
            subject,
            org_id,
            roles,
            features,
            may_write=not roles.isdisjoint(self.write_roles),
            expires_at=min(int(claims["exp"]), _LAST_SECOND) + self.leeway,
        )

    def _roles(self, claims: Mapping[str, Any]) -> frozenset[str]:
        roles = claims.get(self.roles_claim)
        if roles is None:
            return frozenset()
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            raise Unauthenticated(f"The token's {self.roles_claim} must be an array of strings.")
        return frozenset(roles)

    def _features(self, claims: Mapping[str, Any]) -> frozenset[str] | None:
        """None if there is no such claim. A claim that is not a list gives no features."""
        if self.features_claim not in claims:
            return None
        features = claims[self.features_claim]
        if not isinstance(features, list):
            return frozenset()
        return frozenset(feature for feature in features if isinstance(feature, str))


def _is_id(value: object, max_length: int) -> TypeGuard[str]:
    """Whether the value is text that can be stored and logged: no control character, no lone surrogate."""
    return isinstance(value, str) and 0 < len(value) <= max_length and value.isprintable()
