"""Complaints: a mailbox provider reports that a recipient marked a message as unwanted (ARF, RFC 5965)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.reports.parts import fields, header_of
from marketing_service.reports.report import Kind, Report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marketing_service.reports.parts import Part

FEEDBACK = "message/feedback-report"
# RFC 5965 §7.3, RFC 6449. `not-spam` withdraws a complaint, and `auth-failure` (RFC 6591) is not from a recipient.
_UNWANTED = frozenset({"abuse", "fraud", "virus", "other", "opt-out", "opt-out-list"})
# Microsoft's older feedback loop adds this header field to the attached message, and sends no ARF part.
_WITHOUT_FIELDS = "x-hmxmroriginalrecipient"


def complaint(parts: Sequence[Part]) -> Report | None:
    """The complaint. None if the message has no feedback, Kind.OTHER if the feedback is not a complaint."""
    originals = [header_of(part.text) for part in parts if part.is_original]
    feedback = next((part.text for part in parts if part.type == FEEDBACK), None)
    if feedback is None:
        unwanted = any(_WITHOUT_FIELDS in fields(original) for original in originals)
        return Report(Kind.COMPLAINT, original_header="\n".join(originals)) if unwanted else None
    feedback = header_of(feedback.lstrip())
    kind = fields(feedback).get("feedback-type", "").partition(";")[0].strip().lower()
    if kind not in _UNWANTED:
        return Report(Kind.OTHER)
    return Report(Kind.COMPLAINT, original_header="\n".join((*originals, feedback)))
