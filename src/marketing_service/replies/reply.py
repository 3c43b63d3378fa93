"""An SMTP reply, and the phase of the conversation it came in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

# RFC 3463 §2: class.subject.detail, at the very start of the reply's text; qmail and IronPort write `#5.1.1`, anywhere.
_ENHANCED = re.compile(r"(?:^|#)([245]\.\d{1,3}\.\d{1,3})(?![.\d])")
_MAX_TEXT = 500


class Phase(StrEnum):
    """Where in the conversation something happened (RFC 5321 §3)."""

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
    """A complete reply: its three-digit code, its enhanced code where it has one (RFC 3463), its text."""

    code: int
    enhanced_code: str | None
    text: str

    @classmethod
    def of(cls, code: int, text: str) -> Reply:
        """The reply, and the enhanced code its text begins with.

        Several lines become one, cut at 500 characters; nothing in it can break a log line or a database row.
        """
        line = " ".join(re.sub(r"[\x00-\x1f\x7f]+", " ", text).split())[:_MAX_TEXT]
        found = _ENHANCED.search(line)
        return cls(code, found.group(1) if found else None, line)
