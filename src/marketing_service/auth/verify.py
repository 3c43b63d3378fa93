"""Verifies a JSON Web Token (RFC 7519) with one key and one algorithm. The algorithm is never taken from the token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jwt

from marketing_service.errors import Unauthenticated

if TYPE_CHECKING:
    from jwt.algorithms import AllowedPublicKeys

    from marketing_service.auth.principal import ClaimRules, Principal

MAX_TOKEN_LENGTH = 8192
"""Characters. Longer tokens are refused before they are decoded; web servers refuse such headers too."""

_MALFORMED = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)

_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "The token has expired. Log in again."),
    (jwt.ImmatureSignatureError, "The token is not valid yet. Check the clocks of the servers."),
    (jwt.InvalidIssuerError, "The token is from another issuer."),
    (jwt.InvalidAudienceError, "The token is meant for another audience."),
    (jwt.InvalidAlgorithmError, "The token is signed with an algorithm that this service does not accept."),
    (jwt.InvalidSignatureError, "The token's signature is wrong."),
)


def verify(token: str, key: AllowedPublicKeys | bytes, algorithm: str, rules: ClaimRules) -> Principal:
    """Verify the token and return its principal. Raises Unauthenticated or Forbidden."""
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=rules.issuer,
            audience=rules.audience,
            leeway=rules.leeway,
            options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
        )
    except _MALFORMED as error:
        raise Unauthenticated(_sentence(error)) from error
    return rules.principal(claims)


def read_header(token: str) -> dict[str, Any]:
    """The header of the token, not verified. Raises Unauthenticated."""
    try:
        return jwt.get_unverified_header(token)
    except _MALFORMED as error:
        raise Unauthenticated(_sentence(error)) from error


def refuse_oversized(token: str) -> None:
    if len(token) > MAX_TOKEN_LENGTH:
        raise Unauthenticated(f"The token is longer than {MAX_TOKEN_LENGTH} characters.")


def _sentence(error: Exception) -> str:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"The token has no claim {error.claim}."
    for kind, sentence in _SENTENCES:
        if isinstance(error, kind):
            return sentence
    return "The token is not a well-formed JSON Web Token."


class SecretAuthenticator:
    """Verifies tokens signed with HS256 and a shared secret."""

    def __init__(self, secret: bytes, rules: ClaimRules) -> None:
        """Raises jwt.InvalidKeyError if the secret is a public key or a certificate."""
        self._key = jwt.get_algorithm_by_name("HS256").prepare_key(secret)
        self._rules = rules

    async def authenticate(self, token: str) -> Principal:
        """See Authenticator; never raises Unavailable."""
        refuse_oversized(token)
        return verify(token, self._key, "HS256", self._rules)
