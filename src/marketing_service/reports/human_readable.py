"""Reports without a machine-readable part: flufl.bounce recognises them, and a quoted SMTP reply gives the cause."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flufl.bounce import all_failures

from marketing_service.reports.parts import parse, parts
from marketing_service.reports.quoted_reply import quoted_reply
from marketing_service.reports.report import Kind, Report, failure_of

if TYPE_CHECKING:
    from email.message import Message

_MAX_OCTETS = 32_000
_MAX_LINE = 500
# The line that starts the original message. Its text is not part of the report.
_ORIGINAL = re.compile(
    r"^[-=_* ]{0,20}(?:this is a copy of|(?:below this line is )?a copy of|copy of your message|"
    r"original message|(?:the )?(?:body|header) of the message|(?:the )?unsent message|return-path:|received: from )",
    re.IGNORECASE | re.MULTILINE,
)
_TAG = re.compile(r"<[a-z/!][^<>@]{0,2000}>", re.IGNORECASE)
_MAX_REASON_LINES = 12
_ASCII = bytes(range(128)) + b"?" * 128


def human_readable_report(raw: bytes, message: Message) -> Report | None:
    """The report in the text of the message; None if the text is not a known form of report."""
    if _is_automatic_reply(message):
        return None
    short = raw[:_MAX_OCTETS]
    # flufl.bounce fails if a header is not ASCII or From is missing, and takes quadratic time for a long line.
    lines = short.translate(_ASCII).split(b"\n")
    sanitized = parse(b"\n".join(line[:_MAX_LINE] for line in lines))
    if sanitized.get("From") is None:
        sanitized["From"] = "<>"
    delayed, failed = all_failures(sanitized)
    if not failed:
        return Report(Kind.DELAYED) if delayed else None
    text = "\n".join(
        _TAG.sub(" ", part.text) if part.type == "text/html" else part.text
        for part in parts(parse(short))
        if part.type in {"text/plain", "text/html"}
    )
    reply, code_is_assumed = quoted_reply(_reason_lines(text, failed))
    return Report(Kind.FAILED, failure_of(reply, code_is_assumed=code_is_assumed))


def _is_automatic_reply(message: Message) -> bool:
    """Whether it is an automatic reply: RFC 3834 §5, or an older header field.

    Exim marks its reports as automatic replies, so they are recognised first.
    """
    if message.get("X-Failed-Recipients") is not None or "mailer-daemon" in str(message.get("From", "")).lower():
        return False
    automatic = str(message.get("Auto-Submitted", "")).strip().lower().startswith("auto-replied")
    return automatic or any(
        message.get(name) is not None for name in ("X-Autoreply", "X-Autorespond", "X-Autoresponse")
    )


def _reason_lines(text: str, failed: frozenset[bytes]) -> str:
    """The lines that give the reason: from the line that names the failed address, without the original message."""
    original = _ORIGINAL.search(text)
    lines = text[: original.start() if original else len(text)].splitlines()
    addresses = tuple(address.decode("utf-8", "replace").lower() for address in failed)
    places = [place for place, line in enumerate(lines) if any(address in line.lower() for address in addresses)]
    # A line that begins with the address is preferred to a line that only mentions it.
    starts = [place for place in places if lines[place].lower().lstrip(" \t<").startswith(addresses)]
    place = (starts or places or [0])[0]
    return "\n".join(lines[place : place + _MAX_REASON_LINES])
