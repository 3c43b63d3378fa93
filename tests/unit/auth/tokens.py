"""Valid and invalid tokens, and the keys that sign them."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from marketing_service.auth import ClaimRules

SECRET = b"0123456789abcdef0123456789abcdef"
RULES = ClaimRules(
    issuer="portal",
    audience="marketing",
    write_roles=frozenset({"ADMIN", "SUPER_ADMIN", "MANAGER"}),
    feature="marketing",
)

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()

PRIVATE_KEYS: dict[str, Any] = {"RS256": RSA_KEY, "ES256": EC_KEY, "EdDSA": ED_KEY}

MISSING = object()


def claims(**changes: Any) -> dict[str, Any]:
    """Valid claims with changes. MISSING removes a claim."""
    now = int(time.time())
    base = {
        "sub": "user-1",
        "iss": "portal",
        "aud": "marketing",
        "iat": now,
        "exp": now + 900,
        "orgId": "org-1",
        "roles": ["ADMIN"],
        "features": ["crm", "marketing"],
    }
    return {name: value for name, value in {**base, **changes}.items() if value is not MISSING}


def sign(key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **changes: Any) -> str:
    """A token with any claims. PyJWT itself refuses to sign some invalid ones."""
    payload = json.dumps(claims(**changes)).encode()
    return jwt.api_jws.encode(payload, key, algorithm, headers=None if kid is None else {"kid": kid})


def segment(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def jwk(algorithm: str, kid: str | None = None, **members: Any) -> dict[str, Any]:
    """The public key of one of PRIVATE_KEYS, as a JWK."""
    entry: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(
        PRIVATE_KEYS[algorithm].public_key(), as_dict=True
    )
    entry.pop("key_ops", None)
    return {**entry, **({} if kid is None else {"kid": kid}), **members}
