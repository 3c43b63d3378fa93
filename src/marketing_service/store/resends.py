"""Bulk resends: a request for many sends of a campaign, done in steps by workers. Each step is claimed under a lease
and an epoch, because a worker asks the CRM between two transactions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql import bindparam

from marketing_service.store.states import SendStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.addresses import MailboxKey
    from marketing_service.store.states import FailReason


@dataclass(frozen=True, slots=True)
class BulkResend:
    """Of the `matching` sends, `accepted` are queued again, and `refused` are not: the reason → how many."""

    id: UUID
    matching: int
    accepted: int
    refused: Mapping[str, int]
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class ClaimedResend:
    """A step of a bulk resend that this process has leased."""

    id: UUID
    org_id: str
    campaign_id: UUID
    statuses: Sequence[SendStatus]
    reasons: Sequence[str]
    created_at: datetime
    after_contact: str
    epoch: int
    claimed_at: datetime
    """The time of PostgreSQL's clock. Whatever the CRM says after the claim is at least as new."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a bulk resend has come, in a transaction that has locked its row."""

    matching: int
    accepted: int
    refused: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A send that matches."""

    id: UUID
    contact_id: str
    address: MailboxKey


# Failed sends are counted by their reasons. An unconfirmed send has none.
_ADD = text(
    """
    INSERT INTO marketing_resends (org_id, campaign_id, created_by, statuses, reasons, matching, finished_at)
    SELECT org_id, id, :created_by, CAST(:statuses AS text[]), CAST(:reasons AS text[]), matching,
           CASE WHEN matching = 0 THEN clock_timestamp() END
    FROM (
        SELECT c.org_id, c.id, greatest(0,
            CASE WHEN 'UNCONFIRMED' = ANY(:statuses) AND cardinality(CAST(:reasons AS text[])) = 0
                 THEN c.unconfirmed ELSE 0 END
            + (SELECT coalesce(sum(r.sends), 0) FROM marketing_reasons r
               WHERE r.campaign_id = c.id AND r.status = 'FAILED' AND 'FAILED' = ANY(:statuses)
                 AND (cardinality(CAST(:reasons AS text[])) = 0 OR r.reason = ANY(:reasons)))) AS matching
        FROM marketing_campaigns c WHERE c.id = :campaign_id
    ) AS counted
    RETURNING id, matching, accepted, refused, finished_at
    """
)
_COLUMNS = "id, matching, accepted, refused, finished_at"
_FIND = text(
    f"SELECT {_COLUMNS} FROM marketing_resends WHERE org_id = :org_id AND campaign_id = :campaign_id AND id = :id"
)
_IS_UNFINISHED = text(
    "SELECT EXISTS (SELECT FROM marketing_resends WHERE campaign_id = :campaign_id AND finished_at IS NULL)"
)


async def add_resend(
    connection: AsyncConnection,
    *,
    campaign_id: UUID,
    created_by: str,
    statuses: Collection[SendStatus],
    reasons: Collection[FailReason],
) -> BulkResend:
    """Add a bulk resend of a campaign, which is locked and has no unfinished one. It counts what matches now. If
    nothing does, it is finished."""
    values = {
        "campaign_id": campaign_id,
        "created_by": created_by,
        "statuses": [status.value for status in statuses],
        "reasons": [reason.value for reason in reasons],
    }
    return BulkResend(**(await connection.execute(_ADD, values)).mappings().one())


async def find_resend(
    connection: AsyncConnection, *, org_id: str, campaign_id: UUID, resend_id: UUID
) -> BulkResend | None:
    """The bulk resend; None if the campaign of this organisation has none with this id."""
    key = {"org_id": org_id, "campaign_id": campaign_id, "id": resend_id}
    row = (await connection.execute(_FIND, key)).mappings().one_or_none()
    return None if row is None else BulkResend(**row)


async def has_unfinished(connection: AsyncConnection, campaign_id: UUID) -> bool:
    """Whether a bulk resend of the campaign is not finished."""
    return bool((await connection.execute(_IS_UNFINISHED, {"campaign_id": campaign_id})).scalar_one())


_CLAIM = text(
    """
    UPDATE marketing_resends
    SET epoch = epoch + 1, lease_until = clock_timestamp() + :lease * interval '1 second'
    WHERE id = (
        SELECT id FROM marketing_resends
        WHERE finished_at IS NULL AND due_at <= now() AND (lease_until IS NULL OR lease_until < now())
          AND (CAST(:after AS uuid) IS NULL OR id > :after) AND id <> ALL(CAST(:without AS uuid[]))
        ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, org_id, campaign_id, statuses, reasons, created_at, after_contact, epoch,
              clock_timestamp() AS claimed_at
    """
)


async def claim_resend(
    connection: AsyncConnection, *, after: UUID | None, without: Collection[UUID], lease: float
) -> ClaimedResend | None:
    """Claim the next unfinished bulk resend, in the order of the ids after `after`, for `lease` seconds. None: there is
    none that is due and that no other worker has."""
    values = {"after": after, "without": list(without), "lease": lease}
    row = (await connection.execute(_CLAIM, values)).mappings().one_or_none()
    if row is None:
        return None
    return ClaimedResend(**(dict(row) | {"statuses": [SendStatus(status) for status in row["statuses"]]}))


# A window of the campaign's sends in the order of an index. No index has the state (decision 4).
_WINDOW = """(
    SELECT s.id, s.contact_id, s.address, s.status, s.reason FROM marketing_sends s
    WHERE s.campaign_id = :campaign_id AND s.contact_id > :after ORDER BY s.contact_id LIMIT :window
)"""
_CANDIDATES = text(
    f"""
    SELECT id, contact_id, address FROM {_WINDOW} AS s
    WHERE status = ANY(CAST(:statuses AS text[]))
      AND (cardinality(CAST(:reasons AS text[])) = 0 OR reason = ANY(CAST(:reasons AS text[])))
    ORDER BY contact_id LIMIT :limit
    """
)
_END_OF_WINDOW = text(f"SELECT contact_id FROM {_WINDOW} AS s ORDER BY contact_id OFFSET :window - 1")


async def candidates(
    connection: AsyncConnection, claimed: ClaimedResend, *, limit: int, window: int
) -> tuple[list[Candidate], str | None]:
    """The next sends that match, at most `limit`, and where the step after this one begins: after this contact. None:
    no send is left. Reads at most `window` sends, so there can be few or none although others follow."""
    key = {"campaign_id": claimed.campaign_id, "after": claimed.after_contact, "window": window}
    wanted = {"statuses": [status.value for status in claimed.statuses], "reasons": list(claimed.reasons)}
    rows = (await connection.execute(_CANDIDATES, key | wanted | {"limit": limit})).all()
    found = [Candidate(row.id, row.contact_id, row.address) for row in rows]
    if len(found) == limit:
        return found, found[-1].contact_id
    return found, (await connection.execute(_END_OF_WINDOW, key)).scalar_one_or_none()


_LOCK = text(
    """
    SELECT matching, accepted, refused FROM marketing_resends
    WHERE id = :id AND epoch = :epoch AND finished_at IS NULL FOR UPDATE
    """
)


async def lock_step(connection: AsyncConnection, claimed: ClaimedResend) -> Progress | None:
    """Lock the bulk resend until the transaction ends. None if another worker has claimed it since."""
    row = (await connection.execute(_LOCK, {"id": claimed.id, "epoch": claimed.epoch})).mappings().one_or_none()
    return None if row is None else Progress(**row)


_RECORD = text(
    """
    UPDATE marketing_resends
    SET matching = :matching, accepted = :accepted, refused = :refused,
        after_contact = coalesce(CAST(:after AS text), after_contact), lease_until = NULL,
        finished_at = CASE WHEN CAST(:after AS text) IS NULL THEN clock_timestamp() END,
        failures = CASE WHEN :is_postponed THEN failures + 1 ELSE 0 END,
        due_at = clock_timestamp() + CASE WHEN :is_postponed
            THEN least(power(2, least(failures, 10)), :maximum) * interval '1 second' ELSE interval '0' END
    WHERE id = :id
    """
).bindparams(bindparam("refused", type_=JSONB))
MAX_POSTPONED = 60.0
"""Seconds between two tries while the CRM does not answer. The waits before are 1, 2, 4 ... seconds."""


async def record_step(
    connection: AsyncConnection,
    claimed: ClaimedResend,
    progress: Progress,
    *,
    after: str | None,
    is_postponed: bool = False,
) -> None:
    """Record what a step has done, in the transaction of `lock_step`, and release the claim. Sends that were found, and
    did not match yet at the request, match now, too. The next step begins after the contact `after`; None: this was the
    last one. `is_postponed`: the next step waits, because the CRM does not
    answer."""
    values: dict[str, Any] = {
        "id": claimed.id,
        "matching": max(progress.matching, progress.accepted + sum(progress.refused.values())),
        "accepted": progress.accepted,
        "refused": dict(progress.refused),
        "after": after,
        "is_postponed": is_postponed,
        "maximum": MAX_POSTPONED,
    }
    await connection.execute(_RECORD, values)
