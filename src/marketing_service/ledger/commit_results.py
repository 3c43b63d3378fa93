"""Marking and recording: what was sent is written down, what goes next is marked, in one commit.

A send is marked (SENDING) in a commit before any of its content reaches a socket. Every write here is fenced:
it counts only while the batch it names is still held under the same epoch, so a worker that was frozen and
thaws after its lease ran out changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from marketing_service.ledger.counters import MOVED, counted, lock_campaign
from marketing_service.ledger.lifecycle import skip_cancelled
from marketing_service.store.states import SendStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from asyncpg import Record
    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.db import Call
    from marketing_service.ledger.batches import Claim


class Result(NamedTuple):
    """What became of one marked send. `delay` (seconds) is when a DEFERRED one is due again."""

    claim: Claim
    send_id: UUID
    attempt: int
    status: SendStatus
    reason: str | None = None
    smtp_code: int | None = None
    enhanced_code: str | None = None
    message: str | None = None
    delay: float | None = None


class Marked(NamedTuple):
    """A send that is ours to hand over: its attempt, how many tries that makes, and when it was first marked."""

    send_id: UUID
    attempt: int
    tries: int
    first_marked_at: datetime


@dataclass(frozen=True, slots=True)
class Step:
    """What one commit did. `open` is False once the campaign is paused, cancelled or done: mark no more."""

    open: bool
    is_cancelled: bool = False
    marked: dict[UUID, Marked] = field(default_factory=dict)
    recorded: frozenset[UUID] = frozenset()


_RECORD_AND_MARK = f"SELECT * FROM marketing_record_and_mark({', '.join(f'${place}' for place in range(1, 15))})"


async def record_and_mark(
    call: Call, campaign_id: UUID, *, results: Sequence[Result], wanted: Sequence[tuple[Claim, UUID]]
) -> Step:
    """Record `results` and mark `wanted`, all of one campaign, in a transaction of its own that takes one round trip.

    A send is in at most one of the two. A result that is not in `recorded` was refused by the fence. A wanted send
    that is not in `marked` is not to be handed over: opted out, cancelled, or no longer ours. Where the campaign
    `is_cancelled`, what waits again is to be skipped next; the sweep does so too. Raises Unavailable.
    """
    return _step(await call(_RECORD_AND_MARK, *_arguments(campaign_id, results, wanted)))


async def record(
    connection: AsyncConnection, campaign_id: UUID, *, results: Sequence[Result], resend_ambiguous: bool = False
) -> Step:
    """Record `results` in this transaction, with all that follows from them: once the campaign is cancelled, what
    would wait is SKIPPED; with `resend_ambiguous`, what is UNCONFIRMED is queued again after its delay, if it has one.
    """
    await lock_campaign(connection, campaign_id)
    # In the same transaction, but past SQLAlchemy: the statement is written for the driver.
    driver: Any = (await connection.get_raw_connection()).driver_connection
    step = _step(await driver.fetchrow(_RECORD_AND_MARK, *_arguments(campaign_id, results, ())))
    if resend_ambiguous:
        again = {
            r.send_id: r.delay
            for r in results
            if r.status is SendStatus.UNCONFIRMED and r.delay is not None and r.send_id in step.recorded
        }
        await requeue_unconfirmed(connection, campaign_id, again)
    if step.is_cancelled:
        await skip_cancelled(connection, campaign_id, most=len(results))
    return step


def _arguments(campaign_id: UUID, results: Sequence[Result], wanted: Sequence[tuple[Claim, UUID]]) -> list[object]:
    return [
        campaign_id,
        [r.send_id for r in results],
        [r.claim.number for r in results],
        [r.claim.epoch for r in results],
        [r.attempt for r in results],
        [r.status for r in results],
        [r.reason for r in results],
        [r.smtp_code for r in results],
        [r.enhanced_code for r in results],
        [r.message for r in results],
        [r.delay for r in results],
        [send_id for _, send_id in wanted],
        [claim.number for claim, _ in wanted],
        [claim.epoch for claim, _ in wanted],
    ]


def _step(row: Record) -> Step:
    marks = zip(row["marked_ids"], row["marked_attempts"], row["marked_tries"], row["first_marked_at"], strict=True)
    return Step(
        open=row["may_mark"],
        is_cancelled=row["is_cancelled"],
        marked={mark[0]: Marked(*mark) for mark in marks},
        recorded=frozenset(row["recorded_ids"]),
    )


_REQUEUE = counted(
    f"""
    again AS (SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:delays AS float8[])) AS a (id, delay)),
    moved AS (
        UPDATE marketing_sends s
        SET status = 'QUEUED', batch = NULL, due_at = clock_timestamp() + again.delay * interval '1 second'
        FROM again WHERE s.id = again.id AND s.campaign_id = :campaign_id AND s.status = 'UNCONFIRMED'
        RETURNING {MOVED}
    )
    """
)


async def requeue_unconfirmed(connection: AsyncConnection, campaign_id: UUID, delays: dict[UUID, float]) -> None:
    """Send again what nobody can tell the outcome of, each after its delay in seconds; the campaign is locked.

    `unconfirmed_at` stays on the row: it is the evidence that somebody may have got it twice.
    """
    if delays:
        await connection.execute(
            _REQUEUE, {"campaign_id": campaign_id, "ids": list(delays), "delays": list(delays.values())}
        )
