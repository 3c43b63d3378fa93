"""Commit results and mark: results of submitted sends are recorded and the next sends marked, in one commit.

A send is marked (SENDING) in a commit before any of its content reaches a socket. Every write here is fenced: it has an
effect only while its batch has the same epoch. A worker that was frozen, and goes on after its lease has run out,
changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from marketing_service.ledger.counters import MOVED, counted
from marketing_service.ledger.lifecycle import skip_cancelled
from marketing_service.store.campaigns import lock_campaign
from marketing_service.store.states import SendStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from asyncpg import Record
    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.db import Call
    from marketing_service.store.batches import Claim, WaitingSend


class SendResult(NamedTuple):
    """What became of one marked send. `delay`: seconds until a DEFERRED one is due again."""

    claim: Claim
    send_id: UUID
    attempt: int
    status: SendStatus
    reason: str | None = None
    smtp_code: int | None = None
    enhanced_code: str | None = None
    message: str | None = None
    delay: float | None = None


class MarkedSend(NamedTuple):
    """A send that a commit has marked SENDING: this process must submit it, and record a result for it."""

    claim: Claim
    send: WaitingSend
    attempt: int
    """The number of this submission, counted from 1, over the whole life of the send."""
    tries: int
    """The same, counted from the last resend."""
    first_marked_at: datetime


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What one commit did."""

    may_mark: bool
    """Whether more sends of the campaign may be marked; false if it is paused, cancelled or finished."""
    is_cancelled: bool = False
    marked: dict[UUID, MarkedSend] = field(default_factory=dict)
    """The sends that are marked now, by id."""
    recorded: frozenset[UUID] = frozenset()
    """The sends whose result is recorded."""


_COMMIT_RESULTS = f"SELECT * FROM marketing_commit_results_v2({', '.join(f'${place}' for place in range(1, 15))})"


async def commit_results(
    call: Call, campaign_id: UUID, *, results: Sequence[SendResult], to_mark: Sequence[tuple[Claim, WaitingSend]]
) -> CommitResult:
    """Record `results` and mark `to_mark`, all of one campaign, in a transaction of its own that takes one round trip.

    A send is in at most one of the two. The fence has refused a result that is not in `recorded`. A send that is not in
    `marked` must not be submitted: it is opted out, suppressed or cancelled, or another worker has its batch. If the
    campaign `is_cancelled`, the sends that wait again must be skipped next; the sweep does so too. Raises Unavailable.
    """
    return _commit_result(await call(_COMMIT_RESULTS, *_arguments(campaign_id, results, to_mark)), to_mark)


# Look-ups by id alone, whatever the statistics say: OFFSET keeps the sub-select as it is.
_STATES = """
    SELECT coalesce(array_agg(s.id), '{}') AS ids, coalesce(array_agg(s.status), '{}') AS statuses,
           coalesce(array_agg(s.attempts), '{}') AS attempts
    FROM unnest(CAST($2 AS uuid[])) AS wanted (id)
    CROSS JOIN LATERAL (
        SELECT s.id, s.status, s.attempts FROM marketing_sends s
        WHERE s.id = wanted.id AND s.campaign_id = $1 OFFSET 0
    ) AS s
"""


async def committed_before(
    call: Call, campaign_id: UUID, *, results: Sequence[SendResult], to_mark: Sequence[tuple[Claim, WaitingSend]]
) -> tuple[frozenset[UUID], list[SendResult]]:
    """What an earlier try of the same commit has done, if only its answer was lost: the sends whose result is recorded,
    and for each send that it has marked the result that it was not submitted. Raises Unavailable.

    Only the process that has the claim marks sends of it, and it submits no send before it knows of the mark.
    """
    ids = [result.send_id for result in results] + [send.id for _, send in to_mark]
    row = await call(_STATES, campaign_id, ids)
    states = dict(zip(row["ids"], zip(row["statuses"], row["attempts"], strict=True), strict=True))
    recorded = frozenset(
        result.send_id
        for result in results
        # A send that was not submitted gets its attempt back.
        if states.get(result.send_id) == (result.status, result.attempt - (result.status is SendStatus.QUEUED))
    )
    not_submitted = [
        SendResult(claim, send.id, states[send.id][1], SendStatus.QUEUED)
        for claim, send in to_mark
        if send.id in states and states[send.id][0] == SendStatus.SENDING
    ]
    return recorded, not_submitted


async def record(
    connection: AsyncConnection,
    campaign_id: UUID,
    *,
    results: Sequence[SendResult],
    resend_ambiguous: bool = False,
) -> CommitResult:
    """Record `results` in this transaction, with all that follows from them.

    In a cancelled campaign, sends that would wait again are SKIPPED. With `resend_ambiguous`, an UNCONFIRMED send is
    queued again after its delay, if it has one.
    """
    await lock_campaign(connection, campaign_id)
    # In the same transaction, but not through SQLAlchemy: the statement is written for the driver.
    driver: Any = (await connection.get_raw_connection()).driver_connection
    commit = _commit_result(await driver.fetchrow(_COMMIT_RESULTS, *_arguments(campaign_id, results, ())), ())
    if resend_ambiguous:
        again = {
            result.send_id: result.delay
            for result in results
            if result.status is SendStatus.UNCONFIRMED
            and result.delay is not None
            and result.send_id in commit.recorded
        }
        await requeue_unconfirmed(connection, campaign_id, again)
    if commit.is_cancelled:
        await skip_cancelled(connection, campaign_id, limit=len(results))
    return commit


def _arguments(
    campaign_id: UUID, results: Sequence[SendResult], to_mark: Sequence[tuple[Claim, WaitingSend]]
) -> list[object]:
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
        [send.id for _, send in to_mark],
        [claim.number for claim, _ in to_mark],
        [claim.epoch for claim, _ in to_mark],
    ]


def _commit_result(row: Record, to_mark: Sequence[tuple[Claim, WaitingSend]]) -> CommitResult:
    wanted = {send.id: (claim, send) for claim, send in to_mark}
    marks = zip(row["marked_ids"], row["marked_attempts"], row["marked_tries"], row["first_marked_at"], strict=True)
    return CommitResult(
        may_mark=row["may_mark"],
        is_cancelled=row["is_cancelled"],
        marked={send_id: MarkedSend(*wanted[send_id], *mark) for send_id, *mark in marks},
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
    """Queue UNCONFIRMED sends again, each after its delay in seconds. The campaign is locked.

    `unconfirmed_at` stays set: it shows that the recipient may have received the message twice.
    """
    if delays:
        await connection.execute(
            _REQUEUE, {"campaign_id": campaign_id, "ids": list(delays), "delays": list(delays.values())}
        )
