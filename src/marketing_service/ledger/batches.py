"""Batches: put in the queue a few at a time, claimed under a lease and an epoch, released, settled, gathered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from marketing_service.ledger.counters import MOVED, counted, lock_campaign
from marketing_service.ledger.expansion import BATCH_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.db import Call


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch under our lease. Writes that name it count only while its epoch is the batch's own."""

    org_id: str
    campaign_id: UUID
    number: int
    epoch: int


class WaitingSend(NamedTuple):
    """A send of a claimed batch that is due."""

    id: UUID
    email: str
    first_name: str | None
    last_name: str | None
    company_name: str | None


_RING = text(
    """
    UPDATE marketing_batches SET enqueued_at = now(), enqueue_count = enqueue_count + 1
    WHERE campaign_id = :campaign_id AND number IN (
        SELECT number FROM marketing_batches
        WHERE campaign_id = :campaign_id AND lease_until IS NULL AND enqueued_at IS NOT NULL
          AND enqueued_at < now() - :patience * interval '1 second'
        UNION ALL
        (SELECT number FROM marketing_batches
         WHERE campaign_id = :campaign_id AND enqueued_at IS NULL
         ORDER BY number
         LIMIT greatest(0, :window - (
            SELECT count(*) FROM marketing_batches
            WHERE campaign_id = :campaign_id AND enqueued_at IS NOT NULL AND lease_until IS NULL)))
    )
    RETURNING number, enqueue_count, old.enqueued_at IS NOT NULL AS again, (
        SELECT count(*) FROM marketing_batches
        WHERE campaign_id = :campaign_id AND enqueued_at IS NOT NULL AND lease_until IS NULL) AS waiting
    """
)


class Ring(NamedTuple):
    """A batch to put in the queue, for the so-manieth time, and how many of its campaign wait there before it."""

    number: int
    ring: int
    ahead: int


async def take_batches_to_enqueue(
    connection: AsyncConnection, campaign_id: UUID, *, window: int, patience: float
) -> list[Ring]:
    """Choose what to put in the queue: at most `window` batches of a campaign wait there at a time, and one that
    nobody claimed within `patience` seconds is rung again. Returns the lowest batch first."""
    campaign = await lock_campaign(connection, campaign_id)
    if campaign is None or not campaign.may_mark:
        return []
    key = {"campaign_id": campaign_id, "window": window, "patience": patience}
    rows = sorted((await connection.execute(_RING, key)).all())
    return [
        Ring(row.number, row.enqueue_count, row.waiting - sum(other.again for other in rows) + place)
        for place, row in enumerate(rows)
    ]


_CLAIM = text(
    """
    UPDATE marketing_batches
    SET epoch = epoch + 1, lease_until = clock_timestamp() + :lease * interval '1 second',
        enqueued_at = coalesce(enqueued_at, now())
    WHERE campaign_id = :campaign_id AND number = :number AND lease_until IS NULL
    RETURNING org_id, epoch
    """
)
_WAITING = text(
    """
    SELECT id, email, first_name, last_name, company_name FROM marketing_sends
    WHERE campaign_id = :campaign_id AND batch = :number AND status IN ('QUEUED', 'DEFERRED')
    ORDER BY id
    """
)


async def claim_batch(
    connection: AsyncConnection, campaign_id: UUID, number: int, *, lease: float
) -> tuple[Claim, list[WaitingSend]] | None:
    """Take a batch for `lease` seconds, with its due sends; None where it is held, done, or gone."""
    key = {"campaign_id": campaign_id, "number": number}
    claimed = (await connection.execute(_CLAIM, {**key, "lease": lease})).one_or_none()
    if claimed is None:
        return None
    rows = await connection.execute(_WAITING, key)
    return Claim(claimed.org_id, campaign_id, number, claimed.epoch), [WaitingSend(*row) for row in rows]


_RENEW = text(
    """
    UPDATE marketing_batches b SET lease_until = clock_timestamp() + :lease * interval '1 second'
    FROM unnest(CAST(:campaigns AS uuid[]), CAST(:numbers AS int[]), CAST(:epochs AS int[]))
        AS held (campaign_id, number, epoch)
    WHERE b.campaign_id = held.campaign_id AND b.number = held.number AND b.epoch = held.epoch
      AND b.lease_until IS NOT NULL
    RETURNING b.org_id, b.campaign_id, b.number, b.epoch
    """
)


async def renew_leases(connection: AsyncConnection, claims: Sequence[Claim], *, lease: float) -> set[Claim]:
    """Hold the claims for another `lease` seconds; returns those that are still ours."""
    rows = await connection.execute(
        _RENEW,
        {
            "campaigns": [claim.campaign_id for claim in claims],
            "numbers": [claim.number for claim in claims],
            "epochs": [claim.epoch for claim in claims],
            "lease": lease,
        },
    )
    return {Claim(row.org_id, row.campaign_id, row.number, row.epoch) for row in rows}


_UNSETTLED = """
    EXISTS (SELECT FROM marketing_sends s WHERE s.campaign_id = b.campaign_id AND s.batch = b.number
            AND s.status IN ('QUEUED', 'DEFERRED', 'SENDING'))
"""
_RELEASE = text("SELECT marketing_release_batch(:campaign_id, :number, :epoch)")


async def release_batch(connection: AsyncConnection, claim: Claim) -> None:
    """Give a batch back: it is gone where nothing in it is due, else it waits to be rung again."""
    await connection.execute(_RELEASE, {"campaign_id": claim.campaign_id, "number": claim.number, "epoch": claim.epoch})


_NEXT = "SELECT * FROM marketing_next_batch($1, $2, $3, $4)"


async def next_batch(call: Call, claim: Claim, *, lease: float) -> tuple[Claim, list[WaitingSend]] | None:
    """Give a batch back, and take the lowest of its campaign that nobody was rung for, with its due sends, in one round
    trip; None where there is none, no more is to be marked, or a batch of another campaign has been rung for and waits.
    Raises Unavailable."""
    row = await call(_NEXT, claim.campaign_id, claim.number, claim.epoch, lease)
    if row["number"] is None:
        return None
    following = Claim(row["org_id"], claim.campaign_id, row["number"], row["epoch"])
    columns = (row["ids"], row["emails"], row["first_names"], row["last_names"], row["company_names"])
    return following, list(map(WaitingSend, *columns)) if row["ids"] else []


# A ring in the past, so that it has been waiting for as long as a lost one when it is to be rung again.
_REST = text(
    """
    UPDATE marketing_batches SET enqueued_at = now() + :ahead * interval '1 second'
    WHERE campaign_id = :campaign_id AND number = :number AND lease_until IS NULL
    """
)


async def requeue_batch_later(connection: AsyncConnection, claim: Claim, *, seconds: float, patience: float) -> None:
    """Have a batch that was given back in this transaction rung again in `seconds` and not before, by those who
    ring with this `patience`. Until then it keeps its place in the campaign's window."""
    await connection.execute(
        _REST,
        {"campaign_id": claim.campaign_id, "number": claim.number, "ahead": seconds - patience},
    )


_HOLD_BACK = text(
    """
    UPDATE marketing_sends s SET batch = NULL, due_at = clock_timestamp() + held.delay * interval '1 second'
    FROM unnest(CAST(:ids AS uuid[]), CAST(:delays AS float8[])) AS held (id, delay)
    WHERE s.id = held.id AND s.campaign_id = :campaign_id AND s.batch = :number AND s.status IN ('QUEUED', 'DEFERRED')
      AND EXISTS (SELECT FROM marketing_batches b
                  WHERE b.campaign_id = s.campaign_id AND b.number = s.batch AND b.epoch = :epoch)
    """
)


async def postpone_sends(connection: AsyncConnection, claim: Claim, delays: Mapping[UUID, float]) -> None:
    """Take sends out of a batch that is still ours, each to be due after its delay in seconds.

    They stay what they are, and it is no try: no counter moves.
    """
    await lock_campaign(connection, claim.campaign_id)
    await connection.execute(
        _HOLD_BACK,
        {
            "campaign_id": claim.campaign_id,
            "number": claim.number,
            "epoch": claim.epoch,
            "ids": list(delays),
            "delays": list(delays.values()),
        },
    )


_EXPIRED = text("SELECT DISTINCT campaign_id FROM marketing_batches WHERE lease_until < clock_timestamp()")


async def campaigns_with_expired_leases(connection: AsyncConnection) -> list[UUID]:
    return list((await connection.execute(_EXPIRED)).scalars())


_SETTLE_BATCHES = text(
    """
    UPDATE marketing_batches SET epoch = epoch + 1, lease_until = NULL, enqueued_at = NULL
    WHERE campaign_id = :campaign_id AND lease_until < clock_timestamp()
    RETURNING number
    """
)
_SETTLE_SENDS = counted(
    f"""
    moved AS (
        UPDATE marketing_sends s
        SET status = 'UNCONFIRMED', unconfirmed_at = clock_timestamp(),
            error_message = 'The sending process ended before the relay''s answer was recorded.'
        WHERE campaign_id = :campaign_id AND batch = ANY(CAST(:numbers AS int[])) AND status = 'SENDING'
        RETURNING {MOVED}, s.id
    )
    """,
    "SELECT id FROM moved",
)
_DROP_EMPTY = text(
    f"""
    DELETE FROM marketing_batches b
    WHERE campaign_id = :campaign_id AND number = ANY(CAST(:numbers AS int[])) AND NOT {_UNSETTLED}
    """
)


async def settle_expired(connection: AsyncConnection, campaign_id: UUID) -> list[UUID]:
    """End the claims of one campaign whose lease has run out; returns the sends that are UNCONFIRMED by it.

    A process that died may have handed over whatever it had marked, so nobody can tell: those become
    UNCONFIRMED. What it had not marked waits to be rung again.
    """
    await lock_campaign(connection, campaign_id)
    numbers = list((await connection.execute(_SETTLE_BATCHES, {"campaign_id": campaign_id})).scalars())
    key = {"campaign_id": campaign_id, "numbers": numbers}
    unconfirmed = list((await connection.execute(_SETTLE_SENDS, key)).scalars())
    await connection.execute(_DROP_EMPTY, key)
    return unconfirmed


_DUE_CAMPAIGNS = text(
    """
    SELECT DISTINCT s.campaign_id FROM marketing_sends s JOIN marketing_campaigns c ON c.id = s.campaign_id
    WHERE s.due_at <= now() AND c.paused_at IS NULL
    """
)


async def campaigns_with_due_sends(connection: AsyncConnection) -> list[UUID]:
    """Campaigns, not paused, with sends that were deferred or resent and are due."""
    return list((await connection.execute(_DUE_CAMPAIGNS)).scalars())


_GATHER = text(
    f"""
    WITH due AS (
        SELECT id, org_id, row_number() OVER (ORDER BY due_at, id) - 1 AS place
        FROM marketing_sends
        WHERE campaign_id = :campaign_id AND due_at <= now()
        ORDER BY due_at, id LIMIT :most
    ),
    place AS (
        UPDATE marketing_campaigns
        SET next_batch = next_batch + (SELECT (count(*) + {BATCH_SIZE} - 1) / {BATCH_SIZE} FROM due)
        WHERE id = :campaign_id
        RETURNING old.next_batch AS first
    ),
    gathered AS (
        UPDATE marketing_sends s SET due_at = NULL, batch = place.first + due.place / {BATCH_SIZE}
        FROM due, place WHERE s.id = due.id
        RETURNING s.org_id, s.campaign_id, s.batch
    )
    INSERT INTO marketing_batches (org_id, campaign_id, number)
    SELECT DISTINCT org_id, campaign_id, batch FROM gathered
    """
)


async def gather_due(connection: AsyncConnection, campaign_id: UUID, *, most: int) -> None:
    """Put up to `most` due sends that wait by themselves into new batches."""
    campaign = await lock_campaign(connection, campaign_id)
    if campaign is not None and campaign.may_mark:
        await connection.execute(_GATHER, {"campaign_id": campaign_id, "most": most})


_SENDING = text(
    """
    SELECT id, cancelled_at IS NOT NULL AS cancelled FROM marketing_campaigns
    WHERE status = 'SENDING' AND expanded_at IS NOT NULL AND (paused_at IS NULL OR cancelled_at IS NOT NULL)
    """
)


async def active_campaigns(connection: AsyncConnection) -> tuple[list[UUID], list[UUID]]:
    """The campaigns with something to send, and those that are cancelled and not yet through."""
    rows = (await connection.execute(_SENDING)).all()
    return [row.id for row in rows], [row.id for row in rows if row.cancelled]
