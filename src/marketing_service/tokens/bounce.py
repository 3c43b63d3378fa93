"""Return paths that identify the send and the attempt a report is about (VERP), and that cannot be forged.

A bounce address is `b-<token>@<domain>`. The token is base32 (RFC 4648 §6) of 16 bytes of id, 2 bytes of the attempt
and 12 bytes of HMAC-SHA-256 over both: 30 bytes, which are 48 characters without padding. It is in lower case, because
some systems lower-case local parts; apart from case, each token has one spelling. A MAC of 96 bits is enough, because a
guess costs a mail (RFC 2104 §5 asks for 80). The short local part leaves room for the additions of forwarders within
the 64 octets of RFC 5321 §4.5.3.1.1.
"""

from __future__ import annotations

import base64
import re
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from marketing_service.tokens.keyring import Purpose, is_signed, mac

if TYPE_CHECKING:
    from marketing_service.tokens.keyring import TokenKeyring

_PREFIX = "b-"
_COMPLAINTS = "complaints"
_ID_LENGTH = 16
_SIGNED_LENGTH = 18
_MAC_LENGTH = 12
_LAST_ATTEMPT = 2**15 - 1  # the limit of the database column
_TOKEN = r"[a-z2-7]{48}"  # noqa: S105 - a pattern, not a token
_FORM = re.compile(_TOKEN, re.ASCII)


class Bounced(NamedTuple):
    """The send and the attempt that a bounce address identifies."""

    send_id: UUID
    attempt: int


class Mailbox(Enum):
    """An address of this service that is not about one send."""

    COMPLAINTS = "complaints"
    """The address to which feedback loops send their reports."""


class BounceAddresses:
    """The bounce addresses at one domain: created for the envelopes of sends, and parsed when a report arrives."""

    def __init__(self, keyring: TokenKeyring, domain: str) -> None:
        self.domain = domain.lower()
        self._keys = keyring.keys(Purpose.BOUNCE)
        self._end = f"@{self.domain}"
        self._anywhere = re.compile(rf"{_PREFIX}({_TOKEN}){re.escape(self._end)}(?![\w.-])", re.ASCII | re.IGNORECASE)

    @property
    def complaints(self) -> str:
        """The address to register with feedback loops."""
        return _COMPLAINTS + self._end

    def of(self, send_id: UUID, attempt: int) -> str:
        """The return path of one attempt at a send; `attempt` is 1 to 32,767."""
        signed = send_id.bytes + attempt.to_bytes(2, "big")
        token = base64.b32encode(signed + mac(self._keys[0], signed, _MAC_LENGTH))
        return _PREFIX + token.decode().lower() + self._end

    def read(self, address: str) -> Bounced | Mailbox | None:
        """What an envelope's recipient identifies; None for any address that this service did not create."""
        address = address.lower()
        if not address.endswith(self._end):
            return None
        local_part = address[: -len(self._end)]
        if local_part == _COMPLAINTS:
            return Mailbox.COMPLAINTS
        return self._token(local_part.removeprefix(_PREFIX)) if local_part.startswith(_PREFIX) else None

    def find(self, text: str) -> Bounced | None:
        """The first valid bounce address in a text, such as a header; None if there is none."""
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
        attempt = int.from_bytes(signed[_ID_LENGTH:], "big")
        if not is_signed(self._keys, signed, signature) or not 0 < attempt <= _LAST_ATTEMPT:
            return None
        return Bounced(UUID(bytes=signed[:_ID_LENGTH]), attempt)
