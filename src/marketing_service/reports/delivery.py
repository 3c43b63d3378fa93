"""Delivery reports for machines (RFC 3464): one group of fields for each recipient."""

from __future__ import annotations

import re

from marketing_service.reports.parts import fields
from marketing_service.reports.quoted import quoted_reply, status_of
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


def delivery_report(text: str) -> Report | None:
    """What the fields say; None where they say nothing.

    A message of ours has one recipient, so several groups are what an alias stands for, and the mildest word counts:
    one of them that got it proves the address good.
    """
    said = [report for block in _BLANK_LINES.split(text)[:_MAX_GROUPS] if (report := _group(fields(block)))]
    for kind in (Kind.DELIVERED, Kind.DELAYED):
        if any(report.kind is kind for report in said):
            return Report(kind)
    failures = [report.failure for report in said if report.failure is not None]
    return Report(Kind.FAILED, min(failures, key=_severity)) if failures else None


def _severity(failure: Failure) -> tuple[bool, bool]:
    return failure.severity


def _group(group: dict[str, str]) -> Report | None:
    """One recipient's; None for the fields that are about the message."""
    if not group.keys() & {"final-recipient", "original-recipient", "action"}:
        return None
    status = status_of(group.get("status", ""))
    action = _ACTION.match(group.get("action", "").lower())
    kind = _ACTIONS.get(action[0]) if action else None
    if kind is None and status is not None:
        kind = _CLASSES[status[0]]
    if kind is not Kind.FAILED:
        return None if kind is None else Report(kind)
    _, semicolon, said = group.get("diagnostic-code", "").partition(";")
    said = said if semicolon else group.get("diagnostic-code", "")
    reply, made_up = quoted_reply(said.strip() or group.get("status", ""), status)
    return Report(Kind.FAILED, failure_of(reply, code_is_made_up=made_up))
