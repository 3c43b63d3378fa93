"""Reports whose machine-readable part is missing or empty.

flufl.bounce recognises them, and their text gives the cause.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flufl.bounce import all_failures

from marketing_service.reports.parts import parse, parts
from marketing_service.reports.quoted_reply import quoted_reply
from marketing_service.reports.reason_lines import Paragraphs, lines_near_addresses, text_of
from marketing_service.reports.report import Kind, Report, failure_of

if TYPE_CHECKING:
    from email.message import Message

_MAX_OCTETS = 32_000
_MAX_LINE = 500
_ASCII = bytes(range(128)) + b"?" * 128


def human_readable_report(raw: bytes, message: Message, *, has_empty_status: bool) -> Report | None:
    """The report in the text of the message; None if the text is not a known form of report.

    The text counts against the address only if it gives the reason beside the address, or quotes a reply. With an empty
    machine-readable part (`has_empty_status`) it must do both: such reports often are about the sender's set-up.
    """
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
    text = text_of(parts(parse(short)))
    addresses = [address.decode("utf-8", "replace") for address in failed]
    reason, names_address = lines_near_addresses(text, addresses)
    beside_address = Paragraphs(text).of(addresses)
    reply, code_is_assumed = quoted_reply(beside_address if has_empty_status and beside_address else reason)
    failure = failure_of(reply, code_is_assumed=code_is_assumed)
    counts = bool(beside_address) and not code_is_assumed if has_empty_status else names_address or not code_is_assumed
    return Report(Kind.FAILED, failure if counts else replace(failure, is_hard=False, is_about_address=False))


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
