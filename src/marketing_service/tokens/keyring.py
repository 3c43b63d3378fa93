"""Public tokens: an id and a truncated HMAC over it (RFC 2104 §5), so that no token needs to be stored.

A token is base64url (RFC 4648 §5, no padding) of 16 bytes of id and 16 bytes of HMAC-SHA-256. Each purpose has its own
key: proxies and scanners see the tokens for opens and clicks, and these must not be usable for an opt-out.
"""

from __future__ import annotations

import base64
import hmac
import re
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Sequence

_ID_LENGTH = 16
_MAC_LENGTH = 16
TOKEN_LENGTH = 43
LAST_CHARACTERS = "AEIMQUYcgkosw048"
"""43 characters hold two bits more than 32 bytes. These bits must be zero, so that a token has only one spelling."""
TOKEN_PATTERN = rf"[A-Za-z0-9_-]{{{TOKEN_LENGTH - 1}}}[{LAST_CHARACTERS}]"
_FORM = re.compile(TOKEN_PATTERN, re.ASCII)


class Purpose(StrEnum):
    """What a token may be used for. The value is part of the key: if it changes, all mailed tokens become invalid."""

    OPEN = "open"
    CLICK = "click"
    UNSUBSCRIBE = "unsubscribe"
    BOUNCE = "bounce"


class TokenKeyring:
    """Signs tokens with the first key and accepts tokens of every key.

    To change the key, put a new one first. Remove an old key when the mails signed with it no longer matter.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Raises ValueError if there is no key."""
        if not keys:
            raise ValueError("a token keyring needs at least one key")
        self._keys = {
            purpose: tuple(_prepared(hmac.digest(key, f"marketing-token:{purpose}".encode(), "sha256")) for key in keys)
            for purpose in Purpose
        }

    def issue(self, purpose: Purpose, token_id: UUID) -> str:
        """The token for an id: 43 characters, valid in the path of a URL, always the same for the same id."""
        raw = token_id.bytes
        return base64.urlsafe_b64encode(raw + mac(self._keys[purpose][0], raw, _MAC_LENGTH))[:-1].decode()

    def read(self, purpose: Purpose, token: str) -> UUID | None:
        """The id in a token that was issued for this purpose; None for any other text."""
        raw = _decode(token)
        if raw is None:
            return None
        id_bytes, signature = raw[:_ID_LENGTH], raw[_ID_LENGTH:]
        return UUID(bytes=id_bytes) if is_signed(self._keys[purpose], id_bytes, signature) else None

    def keys(self, purpose: Purpose) -> tuple[hmac.HMAC, ...]:
        """The keys of a purpose, for tokens of another form. The first signs, all are accepted."""
        return self._keys[purpose]


def mac(key: hmac.HMAC, signed: bytes, length: int) -> bytes:
    """The first `length` bytes of the HMAC (RFC 2104 §5)."""
    copy = key.copy()
    copy.update(signed)
    return copy.digest()[:length]


def is_signed(keys: Sequence[hmac.HMAC], signed: bytes, signature: bytes) -> bool:
    """Whether the signature, a truncated HMAC over `signed`, was made with one of the keys."""
    # Every key is tried, so that the time taken does not tell which key matches.
    matches = [hmac.compare_digest(mac(key, signed, len(signature)), signature) for key in keys]
    return any(matches)


def _prepared(key: bytes) -> hmac.HMAC:
    """An HMAC with the key already hashed in, so that this is done only once."""
    return hmac.new(key, digestmod="sha256")


def _decode(token: str) -> bytes | None:
    """The 32 bytes of the token; None if it is not in the form that `issue` creates."""
    return base64.urlsafe_b64decode(token + "=") if _FORM.fullmatch(token) else None
