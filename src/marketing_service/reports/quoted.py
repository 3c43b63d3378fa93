"""The SMTP reply that a report quotes, in whatever form."""

from __future__ import annotations

import re

from marketing_service.replies import Reply

# RFC 3463 §2. An enhanced code that ends in .0.0 says no more than its class.
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?![.\d])")
# A reply's code, where one can stand: at the beginning, or behind what introduces it ("said: 550 …", "<550 5.1.1 …>").
# Neither a port, a year nor an address's octet is followed by a blank or a hyphen and then by an enhanced code or text.
_REPLY = re.compile(
    r"(?:^|[:;<>(\"'=\[#]\s{0,3}|\b(?:said|says|error|code|status|reply|response)\s)"
    r"([45]\d\d)(?:[ -]+|\b(?=#))(?=#?[45]\.\d{1,3}\.\d|[^\W\d]|[<\"'*#(\[])",
    re.IGNORECASE,
)
_LONGEST = 2000


def quoted_reply(text: str, status: str | None = None) -> tuple[Reply, bool]:
    """The reply in a text, made complete from the report's own `status`; and whether its code had to be made up.

    The text's enhanced code counts before the report's, since that one is often the reporter's translation. Where
    neither has a code it is a 550, for the report says that this is final.
    """
    line = " ".join(text[:_LONGEST].split())
    found = _REPLY.search(line)
    reply = Reply.of(int(found[1]), line[found.end() :]) if found else Reply.of(0, line)
    enhanced = _first_specific(reply.enhanced_code, _in_words(reply.text), status)
    code = reply.code or (450 if enhanced and enhanced.startswith("4") else 550)
    return Reply(code, enhanced, reply.text), not found


def status_of(field: str) -> str | None:
    """The status code of a report's field (RFC 3464 §2.3.4); None where there is none."""
    found = _STATUS.search(field)
    return found[0] if found else None


def _in_words(text: str) -> str | None:
    """An enhanced code further on in the text: some put the host or the address before it."""
    found = re.search(rf"(?<![\w.]){_STATUS.pattern}", text)
    return found[0] if found else None


def _first_specific(*codes: str | None) -> str | None:
    given = [code for code in codes if code is not None and not code.startswith("2")]
    return next((code for code in given if not code.endswith(".0.0")), given[0] if given else None)
