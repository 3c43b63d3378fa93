"""Proving a JSON Web Token (RFC 7519) with one key and one algorithm, never the one the token asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jwt

from marketing_service.errors import Unauthenticated

if TYPE_CHECKING:
    from jwt.algorithms import AllowedPublicKeys

    from marketing_service.auth.principal import ClaimRules, Principal

MAX_TOKEN_LENGTH = 8192
"""Characters. Nothing longer is worth decoding: web servers do not accept such a header either."""

_MALFORMED = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)

_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "The token has expired; log in again."),
    (jwt.ImmatureSignatureError, "The token is not valid yet; is a clock wrong?"),
    (jwt.InvalidIssuerError, "The token is from another issuer."),
    (jwt.InvalidAudienceError, "The token is meant for another audience."),
    (jwt.InvalidAlgorithmError, "The token is not signed with an algorithm that is accepted here."),
    (jwt.InvalidSignatureError, "The token's signature is wrong."),
)


def prove(token: str, key: AllowedPublicKeys | bytes, algorithm: str, rules: ClaimRules) -> Principal:
    """The principal that `token` proves. Raises Unauthenticated or Forbidden."""
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
    """The token's header, of which nothing is proven. Raises Unauthenticated."""
    try:
        return jwt.get_unverified_header(token)
    except _MALFORMED as error:
        raise Unauthenticated(_sentence(error)) from error


def refuse_oversized(token: str) -> None:
    if len(token) > MAX_TOKEN_LENGTH:
        raise Unauthenticated(f"The token is longer than {MAX_TOKEN_LENGTH} characters.")


def _sentence(error: Exception) -> str:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"The token lacks the claim {error.claim}."
    for kind, sentence in _SENTENCES:
        if isinstance(error, kind):
            return sentence
    return "The token is not a well-formed JSON Web Token."


class SecretAuthenticator:
    """Proves tokens signed by HS256 with a shared secret."""

    def __init__(self, secret: bytes, rules: ClaimRules) -> None:
        """Raises jwt.InvalidKeyError for a secret that is really a public key or certificate."""
        self._key = jwt.get_algorithm_by_name("HS256").prepare_key(secret)
        self._rules = rules

    async def authenticate(self, token: str) -> Principal:
        """See Authenticator; never raises Unavailable."""
        refuse_oversized(token)
        return prove(token, self._key, "HS256", self._rules)
