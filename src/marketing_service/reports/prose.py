"""Reports written for people alone: flufl.bounce knows their forms, and what they quote says the rest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flufl.bounce import all_failures

from marketing_service.reports.parts import parse, parts
from marketing_service.reports.quoted import quoted_reply
from marketing_service.reports.report import Kind, Report, failure_of

if TYPE_CHECKING:
    from email.message import Message

_OCTETS_READ = 32_000
_MAX_LINE = 500
# Where the message that comes back begins; its text is not what anybody said about it.
_ORIGINAL = re.compile(
    r"^[-=_* ]{0,20}(?:this is a copy of|(?:below this line is )?a copy of|copy of your message|"
    r"original message|(?:the )?(?:body|header) of the message|(?:the )?unsent message|return-path:|received: from )",
    re.IGNORECASE | re.MULTILINE,
)
_TAG = re.compile(r"<[a-z/!][^<>@]{0,2000}>", re.IGNORECASE)
_LINES_ABOUT_IT = 12
_ASCII = bytes(range(128)) + b"?" * 128


def prose_report(raw: bytes, message: Message) -> Report | None:
    """What the text says; None where it is not in a form of a report."""
    if _is_automatic_reply(message):
        return None
    short = raw[:_OCTETS_READ]
    # flufl.bounce stumbles where a header is not ASCII, or From is missing, and takes quadratic time over a long line.
    lines = short.translate(_ASCII).split(b"\n")
    suspect = parse(b"\n".join(line[:_MAX_LINE] for line in lines))
    if suspect.get("From") is None:
        suspect["From"] = "<>"
    waiting, failed = all_failures(suspect)
    if not failed:
        return Report(Kind.DELAYED) if waiting else None
    text = "\n".join(
        _TAG.sub(" ", part.text) if part.type == "text/html" else part.text
        for part in parts(parse(short))
        if part.type in {"text/plain", "text/html"}
    )
    reply, made_up = quoted_reply(_about(text, failed))
    return Report(Kind.FAILED, failure_of(reply, code_is_made_up=made_up))


def _is_automatic_reply(message: Message) -> bool:
    """RFC 3834 §5, and what was written before it. Exim marks its own reports so."""
    if message.get("X-Failed-Recipients") is not None or "mailer-daemon" in str(message.get("From", "")).lower():
        return False
    automatic = str(message.get("Auto-Submitted", "")).strip().lower().startswith("auto-replied")
    return automatic or any(
        message.get(name) is not None for name in ("X-Autoreply", "X-Autorespond", "X-Autoresponse")
    )


def _about(text: str, failed: frozenset[bytes]) -> str:
    """The lines about whom it is that failed: from the line that names the address on, without the message itself."""
    original = _ORIGINAL.search(text)
    lines = text[: original.start() if original else len(text)].splitlines()
    addresses = tuple(address.decode("utf-8", "replace").lower() for address in failed)
    places = [place for place, line in enumerate(lines) if any(address in line.lower() for address in addresses)]
    # The line that begins with it, rather than the one that says whom the message was for.
    heads = [place for place in places if lines[place].lower().lstrip(" \t<").startswith(addresses)]
    place = (heads or places or [0])[0]
    return "\n".join(lines[place : place + _LINES_ABOUT_IT])
