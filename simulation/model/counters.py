"""The counters of a campaign: they move with the sends (`ledger/counters.py`)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from simulation.model.rows import COUNTERS, Send

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


def move(work: Work, campaign_id: UUID, moves: Iterable[tuple[Send, Send]]) -> int:
    """Put the new row of each send in the place of the old one, and move the counters and the campaign's state with
    them. Returns how many were moved."""
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
    return moved
