"""Public tokens: an id and a truncated HMAC over it (RFC 2104 §5), so that nothing needs to be stored.

A token is base64url (RFC 4648 §5, no padding) of 16 bytes of id and 16 bytes of HMAC-SHA-256. The key differs
by purpose: a token that counts an open or a click, which proxies and scanners see, opts nobody out.
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
# 43 characters hold two bits more than 32 bytes. Were they ignored, a token would have four spellings: they are zero.
_FORM = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", re.ASCII)


class Purpose(StrEnum):
    """What a token may be used for. The value goes into the key: changed, every token mailed so far is void."""

    OPEN = "open"
    CLICK = "click"
    UNSUBSCRIBE = "unsubscribe"
    BOUNCE = "bounce"


class TokenKeyring:
    """Issues tokens with the first key of a ring, and reads those of every key: put a new key first, and take an
    old one out when the mails signed with it no longer matter."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Raises ValueError without a key."""
        if not keys:
            raise ValueError("a ring of token keys needs at least one key")
        self._keys = {
            purpose: tuple(_prepared(hmac.digest(key, f"marketing-token:{purpose}".encode(), "sha256")) for key in keys)
            for purpose in Purpose
        }

    def issue(self, purpose: Purpose, token_id: UUID) -> str:
        """The token for an id: 43 characters, fit for a URL's path, the same every time."""
        raw = token_id.bytes
        return base64.urlsafe_b64encode(raw + mac(self._keys[purpose][0], raw, _MAC_LENGTH))[:-1].decode()

    def read(self, purpose: Purpose, token: str) -> UUID | None:
        """The id in a token that was issued for this purpose; None for anything else, whatever it is."""
        raw = _decode(token)
        if raw is None:
            return None
        id_bytes, signature = raw[:_ID_LENGTH], raw[_ID_LENGTH:]
        # Every key is tried, so that the time taken does not tell which one fits.
        fits = [hmac.compare_digest(mac(key, id_bytes, _MAC_LENGTH), signature) for key in self._keys[purpose]]
        return UUID(bytes=id_bytes) if any(fits) else None

    def keys(self, purpose: Purpose) -> tuple[hmac.HMAC, ...]:
        """The keys of a purpose, for `mac` over tokens of another form; the first signs, all are accepted."""
        return self._keys[purpose]


def mac(key: hmac.HMAC, signed: bytes, length: int) -> bytes:
    """The first `length` bytes of the HMAC (RFC 2104 §5)."""
    fresh = key.copy()
    fresh.update(signed)
    return fresh.digest()[:length]


def _prepared(key: bytes) -> hmac.HMAC:
    """The key with its padding hashed, once for all tokens."""
    return hmac.new(key, digestmod="sha256")


def _decode(token: str) -> bytes | None:
    """The token's 32 bytes, or None where it is not in the one form we issue."""
    return base64.urlsafe_b64decode(token + "=") if _FORM.fullmatch(token) else None
