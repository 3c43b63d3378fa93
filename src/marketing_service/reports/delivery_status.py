"""Delivery status notifications (RFC 3464): machine-readable, with one group of fields for each recipient."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from marketing_service.reports.human_statements import HumanStatements
from marketing_service.reports.parts import all_fields
from marketing_service.reports.quoted_reply import status_of
from marketing_service.reports.report import Failure, Kind, Report
from marketing_service.reports.statements import Statement, failure_of_all, statement_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_BLANK_LINES = re.compile(r"(?:\r?\n[ \t]*){2,}")
_ACTION = re.compile(r"[a-z]+")
# RFC 3464 §2.3.3. OpenSMTPD writes "error".
_ACTIONS = {
    "failed": Kind.FAILED,
    "failure": Kind.FAILED,
    "error": Kind.FAILED,
    "delayed": Kind.DELAYED,
    "delivered": Kind.DELIVERED,
    "relayed": Kind.DELIVERED,
    "expanded": Kind.DELIVERED,
}
_CLASSES = {"5": Kind.FAILED, "4": Kind.DELAYED, "2": Kind.DELIVERED}
_MAX_GROUPS = 1000
_MAX_STATEMENTS = 5
_DIAGNOSTIC = "diagnostic-code"
# Parts of the names of extension fields (RFC 3464 §2.4) that have a text of the receiving system, such as
# X-Supplementary-Info of Exchange.
_SUPPLEMENTARY = (
    "supplement", "diagnos", "reason", "error", "fail", "respon", "reply", "expla", "detail", "descri", "bounce",
    "note", "info", "comment",
)  # fmt: skip
# Parts of the names of fields with names, addresses or verdicts of filters, which are no statement of that system.
_NO_STATEMENT = (
    "name", "recipient", "sender", "address", "queue", "mta", "host", "server", "category", "class", "spam", "virus",
    "-id", "date", "time", "type",
)  # fmt: skip
_QUOTES_REPLY = re.compile(r"[^;]{0,300}\bsmtp; {0,3}[245]\d\d\b", re.IGNORECASE)
# The form of X-Supplementary-Info (MS-OXCMAIL §2.2.3.7.1.2): <host #status type; text>. Host and text can be missing.
_BRACKETED = re.compile(r"<[^<>#]{0,255}#([245]\.\d{1,3}\.\d{1,3})\s{0,9}(.{0,2000})", re.DOTALL)
_TYPE = re.compile(r"\s{0,9}[a-z][a-z0-9._-]{0,30}\s{0,9};", re.IGNORECASE)


def delivery_status_report(texts: Iterable[str], human_readable: str) -> Report | None:
    """The report in the texts of the machine-readable parts; None if they contain no result.

    Every message of this service has one recipient, so several groups mean that the address is an alias. The mildest
    result is used: if one of the addresses behind the alias got the message, the alias is valid.

    The text of the human-readable part is read only if the fields of a group have no words that say why.
    """
    said = HumanStatements(human_readable)
    blocks = [block for text in texts for block in _BLANK_LINES.split(text)[:_MAX_GROUPS]][:_MAX_GROUPS]
    reports = [report for block in blocks if (report := _group(all_fields(block), said))]
    for kind in (Kind.DELIVERED, Kind.DELAYED):
        if any(report.kind is kind for report in reports):
            return Report(kind)
    failures = [report.failure for report in reports if report.failure is not None]
    return Report(Kind.FAILED, min(failures, key=_severity)) if failures else None


def _severity(failure: Failure) -> tuple[bool, bool]:
    return failure.severity


def _group(group: list[tuple[str, str]], said: HumanStatements) -> Report | None:
    """The result for one recipient; None for the fields that are about the message as a whole."""
    first = dict(reversed(group))
    if not first.keys() & {"final-recipient", "original-recipient", "action"}:
        return None
    status = status_of(first.get("status", ""))
    action = _ACTION.match(first.get("action", "").lower())
    kind = _ACTIONS.get(action[0]) if action else None
    if kind is None and status is not None:
        kind = _CLASSES[status[0]]
    if kind is not Kind.FAILED:
        return None if kind is None else Report(kind)
    statements = _statements(group, status) or [statement_of(first.get("status", ""), status)]
    if not any(one.has_known_words for one in statements):
        recipients = (first.get(name, "") for name in ("final-recipient", "original-recipient"))
        statements += said.about([_address(recipient) for recipient in recipients], status)
    return Report(Kind.FAILED, failure_of_all(statements))


def _statements(group: list[tuple[str, str]], status: str | None) -> list[Statement]:
    """The statements of the fields: those of Diagnostic-Code first."""
    diagnostics = [value for name, value in group if name == _DIAGNOSTIC]
    others = [value for name, value in group if name != _DIAGNOSTIC and _is_supplementary(name, value)]
    texts = [text for value in diagnostics + others for text in [_without_type(value)] if text[1]]
    return [statement_of(text, own or status) for own, text in texts[:_MAX_STATEMENTS]]


def _is_supplementary(name: str, value: str) -> bool:
    if not name.startswith(("x-", "diagnostic-")) or any(word in name for word in _NO_STATEMENT):
        return False
    return any(word in name for word in _SUPPLEMENTARY) or _QUOTES_REPLY.match(value) is not None


def _without_type(value: str) -> tuple[str | None, str]:
    """The own status of a field, if it has one, and its text without a type such as `smtp;`."""
    own = None
    bracketed = _BRACKETED.match(value)
    if bracketed is not None:
        own = bracketed[1] if not bracketed[1].endswith(".0.0") else None
        value = bracketed[2].removesuffix(">") or bracketed[1]
    found = _TYPE.match(value)
    return own, (value[found.end() :] if found else value).strip()


def _address(recipient: str) -> str:
    """The address in a field such as `rfc822; <ann@example.net>`."""
    return recipient.rpartition(";")[2].strip(" \t<>")
