"""Delivery status notifications (RFC 3464): machine-readable, with one group of fields for each recipient."""

from __future__ import annotations

import re

from marketing_service.reports.parts import fields
from marketing_service.reports.quoted_reply import quoted_reply, status_of
from marketing_service.reports.report import Failure, Kind, Report, failure_of

_BLANK_LINES = re.compile(r"(?:\r?\n[ \t]*){2,}")
_ACTION = re.compile(r"[a-z]+")
# RFC 3464 §2.3.3
_ACTIONS = {
    "failed": Kind.FAILED,
    "failure": Kind.FAILED,
    "delayed": Kind.DELAYED,
    "delivered": Kind.DELIVERED,
    "relayed": Kind.DELIVERED,
    "expanded": Kind.DELIVERED,
}
_CLASSES = {"5": Kind.FAILED, "4": Kind.DELAYED, "2": Kind.DELIVERED}
_MAX_GROUPS = 1000


def delivery_status_report(text: str) -> Report | None:
    """The report in the text of the machine-readable part; None if it contains no result.

    Every message of this service has one recipient, so several groups mean that the address is an alias. The mildest
    result is used: if one of the addresses behind the alias got the message, the alias is valid.
    """
    reports = [report for block in _BLANK_LINES.split(text)[:_MAX_GROUPS] if (report := _group(fields(block)))]
    for kind in (Kind.DELIVERED, Kind.DELAYED):
        if any(report.kind is kind for report in reports):
            return Report(kind)
    failures = [report.failure for report in reports if report.failure is not None]
    return Report(Kind.FAILED, min(failures, key=_severity)) if failures else None


def _severity(failure: Failure) -> tuple[bool, bool]:
    return failure.severity


def _group(group: dict[str, str]) -> Report | None:
    """The result for one recipient; None for the fields that are about the message as a whole."""
    if not group.keys() & {"final-recipient", "original-recipient", "action"}:
        return None
    status = status_of(group.get("status", ""))
    action = _ACTION.match(group.get("action", "").lower())
    kind = _ACTIONS.get(action[0]) if action else None
    if kind is None and status is not None:
        kind = _CLASSES[status[0]]
    if kind is not Kind.FAILED:
        return None if kind is None else Report(kind)
    diagnostic = group.get("diagnostic-code", "")
    _, semicolon, after_type = diagnostic.partition(";")
    text = after_type if semicolon else diagnostic
    reply, code_is_assumed = quoted_reply(text.strip() or group.get("status", ""), status)
    return Report(Kind.FAILED, failure_of(reply, code_is_assumed=code_is_assumed))
