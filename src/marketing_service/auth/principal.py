"""Who is asking, and what the claims of a proven token must be for us to say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from marketing_service.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ID_LENGTH = 64
"""Characters in an organisation's id."""
MAX_SUBJECT_LENGTH = 255
"""Characters in a `sub`: what OpenID Connect Core §2 allows one to have."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody whose token is proven, acting for one organisation.

    `features` is None where the token says nothing about features. `may_write`: holds one of the writing roles.
    """

    subject: str
    org_id: str
    roles: frozenset[str]
    features: frozenset[str] | None
    may_write: bool


class Authenticator(Protocol):
    """Turns a bearer token into the principal it proves."""

    async def authenticate(self, token: str) -> Principal:
        """The principal. Raises Unauthenticated for a token that proves nothing, Forbidden (`no-organisation`,
        `feature`) for one that proves somebody we do not serve, Unavailable when the keys cannot be had."""
        ...


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """What the claims must say. `leeway` is in seconds, for clocks that differ."""

    issuer: str
    audience: str
    write_roles: frozenset[str]
    feature: str
    org_claim: str = "orgId"
    roles_claim: str = "roles"
    features_claim: str = "features"
    leeway: float = 30.0

    def principal(self, claims: Mapping[str, Any]) -> Principal:
        """The principal of claims whose signature, times, issuer and audience are already proven.

        Raises Unauthenticated or Forbidden, as Authenticator says.
        """
        subject = claims["sub"]
        if not _is_id(subject, MAX_SUBJECT_LENGTH):
            raise Unauthenticated(
                f"The token's sub must be 1 to {MAX_SUBJECT_LENGTH} characters, none of them a control character."
            )
        roles = self._roles(claims)
        org_id = claims.get(self.org_claim)
        if not _is_id(org_id, MAX_ID_LENGTH):
            raise Forbidden(
                f"The token names no organisation: its {self.org_claim} must be a string of 1 to "
                f"{MAX_ID_LENGTH} characters.",
                code="no-organisation",
            )
        features = self._features(claims)
        if features is not None and self.feature not in features:
            raise Forbidden(f"Your organisation does not have the feature {self.feature}.", code="feature")
        return Principal(subject, org_id, roles, features, may_write=not roles.isdisjoint(self.write_roles))

    def _roles(self, claims: Mapping[str, Any]) -> frozenset[str]:
        roles = claims.get(self.roles_claim)
        if roles is None:
            return frozenset()
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            raise Unauthenticated(f"The token's {self.roles_claim} must be an array of strings.")
        return frozenset(roles)

    def _features(self, claims: Mapping[str, Any]) -> frozenset[str] | None:
        """None where there is no such claim. A claim of any other shape grants nothing."""
        if self.features_claim not in claims:
            return None
        features = claims[self.features_claim]
        if not isinstance(features, list):
            return frozenset()
        return frozenset(feature for feature in features if isinstance(feature, str))


def _is_id(value: object, max_length: int) -> TypeGuard[str]:
    """Whether it is text a database and a log can hold: no control character, no lone surrogate."""
    return isinstance(value, str) and 0 < len(value) <= max_length and value.isprintable()
