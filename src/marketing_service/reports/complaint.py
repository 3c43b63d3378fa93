"""Complaints: a recipient's mailbox provider passes on that a message was called unwanted (ARF, RFC 5965)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.reports.parts import fields, header_of
from marketing_service.reports.report import Kind, Report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marketing_service.reports.parts import Part

FEEDBACK = "message/feedback-report"
# RFC 5965 §7.3, RFC 6449. `not-spam` takes a complaint back, and `auth-failure` (RFC 6591) is nobody's.
_UNWANTED = frozenset({"abuse", "fraud", "virus", "other", "opt-out", "opt-out-list"})
# What Microsoft's older feedback loop puts into the message it attaches, without an ARF part beside it.
_WITHOUT_FIELDS = "x-hmxmroriginalrecipient"


def complaint(parts: Sequence[Part]) -> Report | None:
    """The complaint; None where there is none, and Kind.OTHER where the feedback is not that the mail is unwanted."""
    originals = [header_of(part.text) for part in parts if part.is_original]
    feedback = next((part.text for part in parts if part.type == FEEDBACK), None)
    if feedback is None:
        unwanted = any(_WITHOUT_FIELDS in fields(original) for original in originals)
        return Report(Kind.COMPLAINT, about="\n".join(originals)) if unwanted else None
    feedback = header_of(feedback.lstrip())
    kind = fields(feedback).get("feedback-type", "").partition(";")[0].strip().lower()
    if kind not in _UNWANTED:
        return Report(Kind.OTHER)
    return Report(Kind.COMPLAINT, about="\n".join((*originals, feedback)))
