"""Signs access tokens with the shared secret, for the command line and for development."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import jwt

if TYPE_CHECKING:
    from collections.abc import Sequence


def mint_token(
    secret: str,
    issuer: str,
    audience: str,
    *,
    subject: str,
    org_id: str,
    roles: Sequence[str],
    features: Sequence[str],
    lifetime_seconds: float,
    now: float | None = None,
    org_claim: str = "orgId",
    roles_claim: str = "roles",
    features_claim: str = "features",
) -> str:
    """An access token (JWT, RFC 7519) that is valid for `lifetime_seconds` from `now` (seconds since 1970)."""
    issued = int(time.time() if now is None else now)
    claims = {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "iat": issued,
        "exp": issued + int(lifetime_seconds),
        org_claim: org_id,
        roles_claim: list(roles),
        features_claim: list(features),
    }
    return jwt.encode(claims, secret, algorithm="HS256")
