"""Batches: enqueued a few at a time, claimed under a lease and an epoch, released, postponed, and made of due sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from marketing_service.store.campaigns import lock_campaign
from marketing_service.store.rules import is_waiting, may_mark

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.db import Call


BATCH_SIZE = 100
"""How many sends a batch has at most."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch that this process has leased. A write that names the claim has no effect once the batch has another
    epoch."""

    org_id: str
    campaign_id: UUID
    number: int
    epoch: int


class WaitingSend(NamedTuple):
    """A send of a claimed batch that may be marked."""

    id: UUID
    email: str
    first_name: str | None
    last_name: str | None
    company_name: str | None


_FIRST_RETRY_BATCH = "(SELECT first_retry_batch FROM marketing_campaigns WHERE id = :campaign_id)"
_TAKE = text(
    f"""
    UPDATE marketing_batches SET enqueued_at = clock_timestamp(), enqueue_count = enqueue_count + 1
    WHERE campaign_id = :campaign_id AND number IN (
        SELECT number FROM marketing_batches
        WHERE campaign_id = :campaign_id AND lease_until IS NULL AND enqueued_at IS NOT NULL
          AND enqueued_at < now() - :requeue_after * interval '1 second'
        UNION ALL
        -- One of the due retries, one of the first tries, and so on: each kind gets half if both wait.
        (SELECT number FROM (
            (SELECT b.number, 2 * row_number() OVER (ORDER BY b.number) - 1 AS place
             FROM marketing_batches b
             WHERE b.campaign_id = :campaign_id AND b.enqueued_at IS NULL AND b.number >= {_FIRST_RETRY_BATCH}
             ORDER BY b.number LIMIT :window)
            UNION ALL
            (SELECT b.number, 2 * row_number() OVER (ORDER BY b.number)
             FROM marketing_batches b
             WHERE b.campaign_id = :campaign_id AND b.enqueued_at IS NULL AND b.number < {_FIRST_RETRY_BATCH}
             ORDER BY b.number LIMIT :window)
         ) AS waiting
         ORDER BY place
         LIMIT greatest(0, :window - (
            SELECT count(*) FROM marketing_batches
            WHERE campaign_id = :campaign_id AND enqueued_at IS NOT NULL AND lease_until IS NULL)))
    )
    RETURNING number, enqueue_count, old.enqueued_at IS NOT NULL AS again, (
        SELECT count(*) FROM marketing_batches
        WHERE campaign_id = :campaign_id AND enqueued_at IS NOT NULL AND lease_until IS NULL) AS waiting
    """
)


class BatchToEnqueue(NamedTuple):
    """A batch to put in the queue. `enqueue_count` includes this time; `ahead` is how many batches of its campaign
    wait in the queue before it."""

    number: int
    enqueue_count: int
    ahead: int


async def take_batches_to_enqueue(
    connection: AsyncConnection, campaign_id: UUID, *, window: int, requeue_after: float
) -> list[BatchToEnqueue]:
    """Choose the batches to put in the queue: at most `window` batches of a campaign wait there
    at a time, and a batch that was not claimed within `requeue_after` seconds is enqueued again."""
    campaign = await lock_campaign(connection, campaign_id)
    if campaign is None or not campaign.may_mark:
        return []
    key = {"campaign_id": campaign_id, "window": window, "requeue_after": requeue_after}
    rows = sorted((await connection.execute(_TAKE, key)).all())
    return [
        BatchToEnqueue(row.number, row.enqueue_count, row.waiting - sum(other.again for other in rows) + place)
        for place, row in enumerate(rows)
    ]


_CLAIM = text(
    """
    UPDATE marketing_batches
    SET epoch = epoch + 1, lease_until = clock_timestamp() + :lease * interval '1 second',
        enqueued_at = coalesce(enqueued_at, clock_timestamp())
    WHERE campaign_id = :campaign_id AND number = :number AND lease_until IS NULL
    RETURNING org_id, epoch
    """
)
_WAITING = text(
    f"""
    SELECT s.id, s.email, s.first_name, s.last_name, s.company_name FROM marketing_sends s
    WHERE s.campaign_id = :campaign_id AND s.batch = :number AND {is_waiting("s")}
    ORDER BY s.id
    """
)


async def claim_batch(
    connection: AsyncConnection, campaign_id: UUID, number: int, *, lease: float
) -> tuple[Claim, list[WaitingSend]] | None:
    """Claim a batch for `lease` seconds; returns its waiting sends, too. None if it is claimed, or does not exist any
    more."""
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
        AS claim (campaign_id, number, epoch)
    WHERE b.campaign_id = claim.campaign_id AND b.number = claim.number AND b.epoch = claim.epoch
      AND b.lease_until IS NOT NULL
    RETURNING b.org_id, b.campaign_id, b.number, b.epoch
    """
)


async def renew_leases(connection: AsyncConnection, claims: Sequence[Claim], *, lease: float) -> set[Claim]:
    """Renew the leases, for `lease` seconds from now; returns the claims that are still ours."""
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


_RELEASE = text("SELECT marketing_release_batch_v1(:campaign_id, :number, :epoch)")


async def release_batch(connection: AsyncConnection, claim: Claim) -> None:
    """Release a batch. It is deleted if none of its sends is unsettled; otherwise it waits to be enqueued again."""
    await connection.execute(_RELEASE, {"campaign_id": claim.campaign_id, "number": claim.number, "epoch": claim.epoch})


_NEXT = "SELECT * FROM marketing_release_and_claim_batch_v1($1, $2, $3, $4)"


async def next_batch(call: Call, claim: Claim, *, lease: float) -> tuple[Claim, list[WaitingSend]] | None:
    """Release a batch and claim the campaign's lowest batch that was not enqueued, in one round trip.

    Returns the claim and the sends that wait in the batch; None if there is no such batch, the campaign may mark no
    more sends, or a batch of another campaign waits in the queue. Raises Unavailable.
    """
    row = await call(_NEXT, claim.campaign_id, claim.number, claim.epoch, lease)
    if row["number"] is None:
        return None
    claimed = Claim(row["org_id"], claim.campaign_id, row["number"], row["epoch"])
    columns = (row["ids"], row["emails"], row["first_names"], row["last_names"], row["company_names"])
    return claimed, list(map(WaitingSend, *columns)) if row["ids"] else []


# Sets the moment of the enqueueing so that the batch counts as lost, and is enqueued again, at the wanted moment.
_REQUEUE_LATER = text(
    """
    UPDATE marketing_batches SET enqueued_at = clock_timestamp() + :ahead * interval '1 second'
    WHERE campaign_id = :campaign_id AND number = :number AND lease_until IS NULL
    """
)


async def requeue_batch_later(
    connection: AsyncConnection, claim: Claim, *, seconds: float, requeue_after: float
) -> None:
    """Have a batch that was released in this transaction enqueued again after `seconds` and not before. Until then it
    keeps its place in the campaign's window. `requeue_after` is that of `take_batches_to_enqueue`."""
    await connection.execute(
        _REQUEUE_LATER,
        {"campaign_id": claim.campaign_id, "number": claim.number, "ahead": seconds - requeue_after},
    )


_POSTPONE = text(
    f"""
    UPDATE marketing_sends s SET batch = NULL, due_at = clock_timestamp() + postponed.delay * interval '1 second'
    FROM unnest(CAST(:ids AS uuid[]), CAST(:delays AS float8[])) AS postponed (id, delay)
    WHERE s.id = postponed.id AND s.campaign_id = :campaign_id AND s.batch = :number AND {is_waiting("s")}
      AND EXISTS (SELECT FROM marketing_batches b
                  WHERE b.campaign_id = s.campaign_id AND b.number = s.batch AND b.epoch = :epoch)
    """
)


async def postpone_sends(connection: AsyncConnection, claim: Claim, delays: Mapping[UUID, float]) -> None:
    """Take waiting sends out of a batch that is still ours; each is due after its delay in seconds.

    Their states and tries do not change, so no counter moves.
    """
    await lock_campaign(connection, claim.campaign_id)
    await connection.execute(
        _POSTPONE,
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
    """The campaigns with a batch whose lease has run out: see `ledger.expired_leases`."""
    return list((await connection.execute(_EXPIRED)).scalars())


_DUE_CAMPAIGNS = text(
    f"""
    SELECT c.id FROM marketing_campaigns c
    WHERE {may_mark("c")} AND EXISTS (SELECT FROM marketing_sends s WHERE s.campaign_id = c.id AND s.due_at <= now())
    """
)


async def campaigns_with_due_sends(connection: AsyncConnection) -> list[UUID]:
    """The campaigns, not paused, with due sends that are in no batch: deferred, postponed or resent ones."""
    return list((await connection.execute(_DUE_CAMPAIGNS)).scalars())


_GATHER = text(
    f"""
    WITH due AS (
        SELECT id, org_id, row_number() OVER (ORDER BY due_at, id) - 1 AS place
        FROM marketing_sends
        WHERE campaign_id = :campaign_id AND due_at <= now()
        ORDER BY due_at, id LIMIT :limit
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


async def gather_due(connection: AsyncConnection, campaign_id: UUID, *, limit: int) -> None:
    """Put up to `limit` due sends that are in no batch into new batches."""
    campaign = await lock_campaign(connection, campaign_id)
    if campaign is not None and campaign.may_mark:
        await connection.execute(_GATHER, {"campaign_id": campaign_id, "limit": limit})
