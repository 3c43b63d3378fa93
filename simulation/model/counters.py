"""The counters and the reasons of a campaign: they move with the sends (`ledger/counters.py`, `ledger/reasons.py`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from simulation.model.rows import COUNTERS, Reason, Send, Table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from simulation.model.work import Work


def counted_in(send: Send) -> tuple[str, ...]:
    """The counters in which the send is counted."""
    return (send.status.lower(), *(("unsubscribes",) if send.unsubscribed_at is not None else ()))


def count(sends: Iterable[Send]) -> dict[str, int]:
    """The counters, counted over the rows."""
    counts = dict.fromkeys(COUNTERS, 0)
    for send in sends:
        for name in counted_in(send):
            counts[name] += 1
    return counts


def reason_of(send: Send) -> Reason | None:
    """The row of the reasons in which the send is counted."""
    if send.status not in ("DEFERRED", "FAILED", "SKIPPED"):
        return None
    smtp_code, enhanced_code = send.smtp_code or 0, send.enhanced_code or ""
    if send.status == "SKIPPED":
        smtp_code, enhanced_code = 0, ""
    return Reason(send.org_id, send.campaign_id, send.status, send.reason or "", smtp_code, enhanced_code)


def count_reasons(sends: Iterable[Send]) -> Counter[tuple[object, ...]]:
    """The reasons, counted over the rows, by their keys."""
    return Counter(reason.key for send in sends if (reason := reason_of(send)) is not None)


def _move_reasons(work: Work, moves: Iterable[tuple[Send, Send]]) -> None:
    deltas: Counter[Reason] = Counter()
    for old, new in moves:
        for reason, delta in ((reason_of(new), 1), (reason_of(old), -1)):
            if reason is not None:
                deltas[reason] += delta
    for reason, delta in deltas.items():
        if delta:
            found: Reason | None = work.find(Table.REASONS, reason.key)
            work.put(replace(reason, sends=delta + (0 if found is None else found.sends)))


def move(work: Work, campaign_id: UUID, moves: Iterable[tuple[Send, Send]]) -> int:
    """Put the new row of each send in the place of the old one, and move the counters and the campaign's state with
    them. Returns how many were moved."""
    moves = list(moves)
    deltas = dict.fromkeys(COUNTERS, 0)
    moved = 0
    for old, new in moves:
        work.put(new)
        moved += 1
        for name in counted_in(new):
            deltas[name] += 1
        for name in counted_in(old):
            deltas[name] -= 1
    campaign = work.campaign(campaign_id)
    if moved and campaign is not None:
        counters: dict[str, Any] = {name: getattr(campaign, name) + delta for name, delta in deltas.items()}
        after = replace(campaign, **counters)
        if after.unsettled == 0:
            sent_at = work.now if campaign.sent_at is None else campaign.sent_at
            after = replace(after, status="SENT", sent_at=sent_at, paused_at=None, pause_reason=None)
        else:
            after = replace(after, status="SENDING")
        work.put(after)
    _move_reasons(work, moves)
    return moved
