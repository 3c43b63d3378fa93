"""The SMTP reply that a report quotes, in any of the usual forms."""

from __future__ import annotations

import re

from marketing_service.replies import Reply

# RFC 3463 §2.
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?![.\d])")
# A reply code at a plausible place: at the start, or after an introduction ("said: 550 …", "<550 5.1.1 …>"). A port, a
# year or a part of an IP address is not followed by a space or hyphen and then by an enhanced code or text.
_REPLY = re.compile(
    r"(?:^|[:;<>(\"'=\[#]\s{0,3}|\b(?:said|says|error|code|status|reply|response)\s)"
    r"([45]\d\d)(?:[ -]+|\b(?=#))(?=#?[45]\.\d{1,3}\.\d|[^\W\d]|[<\"'*#(\[])",
    re.IGNORECASE,
)
_MAX_TEXT = 2000


def quoted_reply(text: str, status: str | None = None) -> tuple[Reply, bool]:
    """The reply quoted in a text, completed from the report's `status`, and whether its code is assumed.

    The enhanced code in the text has priority: the report's status is often a translation by the reporting system. If
    there is no reply code, 550 is assumed (450 for an enhanced code 4.x.x), because the report says that it is final.
    """
    line = " ".join(text[:_MAX_TEXT].split())
    found = _REPLY.search(line)
    reply = Reply.of(int(found[1]), line[found.end() :]) if found else Reply.of(0, line)
    enhanced = _first_specific(reply.enhanced_code, _code_in_text(reply.text), status)
    code = reply.code or (450 if enhanced and enhanced.startswith("4") else 550)
    return Reply(code, enhanced, reply.text), not found


def status_of(field: str) -> str | None:
    """The enhanced code in a Status field (RFC 3464 §2.3.4); None if it has none."""
    found = _STATUS.search(field)
    return found[0] if found else None


def _code_in_text(text: str) -> str | None:
    """An enhanced code anywhere in the text: some systems write the host or the address before it."""
    found = re.search(rf"(?<![\w.]){_STATUS.pattern}", text)
    return found[0] if found else None


def _first_specific(*codes: str | None) -> str | None:
    """The first code that does not end with .0.0, which gives only the class; else the first code."""
    given = [code for code in codes if code is not None and not code.startswith("2")]
    return next((code for code in given if not code.endswith(".0.0")), given[0] if given else None)
