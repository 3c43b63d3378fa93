"""An SMTP reply, and the phase of the session in which it was received."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

# RFC 3463 §2: class.subject.detail at the start of the reply's text. qmail and IronPort write `#5.1.1` at any place.
_ENHANCED = re.compile(r"(?:^|#)([245]\.\d{1,3}\.\d{1,3})(?![.\d])")
_MAX_TEXT = 500


class Phase(StrEnum):
    """The phase of an SMTP session (RFC 5321 §3). DOT is the final dot that ends a message."""

    CONNECT = "CONNECT"
    BANNER = "BANNER"
    EHLO = "EHLO"
    TLS = "TLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    DOT = "DOT"


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete reply: its three-digit code, its enhanced code if it has one (RFC 3463), and its text."""

    code: int
    enhanced_code: str | None
    text: str

    @classmethod
    def of(cls, code: int, text: str) -> Reply:
        """A reply with the enhanced code found in its text.

        The text becomes one line of at most 500 characters without control characters, safe for a log or a database.
        """
        line = " ".join(re.sub(r"[\x00-\x1f\x7f]+", " ", text).split())[:_MAX_TEXT]
        found = _ENHANCED.search(line)
        return cls(code, found.group(1) if found else None, line)
