"""Return paths that say which send and which attempt a report is about (VERP), and that cannot be made up.

A bounce address is `b-<token>@<domain>`. Its token is base32 (RFC 4648 §6, in lower case, for local parts are
lower-cased on their way) of 16 bytes of id, 2 of the attempt and 12 of HMAC-SHA-256 over both: 30 bytes are 48
characters without padding, and each token has one spelling, whatever its case. 96 bits are enough where nobody can try
but by sending a mail (RFC 2104 §5 asks for 80), and a short local part leaves room for what forwarders put around it
within the 64 octets of RFC 5321 §4.5.3.1.1.
"""

from __future__ import annotations

import base64
import hmac
import re
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from marketing_service.tokens.keyring import Purpose, mac

if TYPE_CHECKING:
    from marketing_service.tokens.keyring import TokenKeyring

_PREFIX = "b-"
_COMPLAINTS = "complaints"
_ID_LENGTH = 16
_SIGNED_LENGTH = 18
_MAC_LENGTH = 12
_LAST_ATTEMPT = 2**15 - 1  # the ledger's own limit
_TOKEN = r"[a-z2-7]{48}"  # noqa: S105 - a form, and no token
_FORM = re.compile(_TOKEN, re.ASCII)


class Bounced(NamedTuple):
    """What a bounce address is about."""

    send_id: UUID
    attempt: int


class Mailbox(Enum):
    """An address of ours that is not about one send."""

    COMPLAINTS = "complaints"
    """Where feedback loops send their reports."""


class BounceAddresses:
    """The addresses at one domain: made for a send's envelope, and read when something comes back."""

    def __init__(self, ring: TokenKeyring, domain: str) -> None:
        self.domain = domain.lower()
        self._keys = ring.keys(Purpose.BOUNCE)
        self._end = f"@{self.domain}"
        self._anywhere = re.compile(rf"{_PREFIX}({_TOKEN}){re.escape(self._end)}(?![\w.-])", re.ASCII | re.IGNORECASE)

    @property
    def complaints(self) -> str:
        """The address that feedback loops are to be given."""
        return _COMPLAINTS + self._end

    def of(self, send_id: UUID, attempt: int) -> str:
        """The return path of one attempt at a send; `attempt` is 1 to 32,767."""
        signed = send_id.bytes + attempt.to_bytes(2, "big")
        token = base64.b32encode(signed + mac(self._keys[0], signed, _MAC_LENGTH))
        return _PREFIX + token.decode().lower() + self._end

    def read(self, address: str) -> Bounced | Mailbox | None:
        """What an envelope's recipient is about; None for anything that is not ours, whatever it is."""
        address = address.lower()
        if not address.endswith(self._end):
            return None
        local_part = address[: -len(self._end)]
        if local_part == _COMPLAINTS:
            return Mailbox.COMPLAINTS
        return self._token(local_part.removeprefix(_PREFIX)) if local_part.startswith(_PREFIX) else None

    def find(self, text: str) -> Bounced | None:
        """The first bounce address of ours in a text, such as a header; None without one."""
        for found in self._anywhere.finditer(text):
            bounced = self._token(found[1].lower())
            if bounced is not None:
                return bounced
        return None

    def _token(self, token: str) -> Bounced | None:
        if _FORM.fullmatch(token) is None:
            return None
        raw = base64.b32decode(token.upper())
        signed, signature = raw[:_SIGNED_LENGTH], raw[_SIGNED_LENGTH:]
        # Every key is tried, so that the time taken does not tell which one fits.
        fits = [hmac.compare_digest(mac(key, signed, _MAC_LENGTH), signature) for key in self._keys]
        attempt = int.from_bytes(signed[_ID_LENGTH:], "big")
        if not any(fits) or not 0 < attempt <= _LAST_ATTEMPT:
            return None
        return Bounced(UUID(bytes=signed[:_ID_LENGTH]), attempt)
