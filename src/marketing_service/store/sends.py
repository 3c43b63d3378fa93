"""Looking up one send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.store.states import SendStatus

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class ReportedSend:
    """A send that a report, or its unsubscribe link, names. `address` is in its normal form."""

    id: UUID
    org_id: str
    campaign_id: UUID
    address: str
    status: SendStatus
    attempts: int
    unsubscribed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ResendCandidate:
    """A send that a user wants to be sent again."""

    contact_id: str
    address: str
    status: SendStatus


_ORGANISATION = text("SELECT marketing_send_organisation_v1(:send_id)")


async def organisation_of_send(connection: AsyncConnection, send_id: UUID) -> str | None:
    """The organisation that the send belongs to, None if there is no such send. Works without an organisation."""
    org_id: str | None = (await connection.execute(_ORGANISATION, {"send_id": send_id})).scalar_one()
    return org_id


_REPORTED = text(
    "SELECT id, org_id, campaign_id, address, status, attempts, unsubscribed_at"
    " FROM marketing_sends WHERE id = :send_id"
)


async def reported_send(connection: AsyncConnection, send_id: UUID) -> ReportedSend | None:
    """The send, None if there is none that this transaction may see."""
    row = (await connection.execute(_REPORTED, {"send_id": send_id})).mappings().one_or_none()
    return None if row is None else ReportedSend(**(dict(row) | {"status": SendStatus(row["status"])}))


_RESEND_CANDIDATE = text(
    "SELECT contact_id, address, status FROM marketing_sends"
    " WHERE campaign_id = :campaign_id AND id = :send_id AND org_id = :org_id"
)


async def resend_candidate(
    connection: AsyncConnection, *, org_id: str, campaign_id: UUID, send_id: UUID
) -> ResendCandidate | None:
    """The send, None if this organisation has no such send in this campaign."""
    key = {"org_id": org_id, "campaign_id": campaign_id, "send_id": send_id}
    row = (await connection.execute(_RESEND_CANDIDATE, key)).one_or_none()
    return None if row is None else ResendCandidate(row.contact_id, row.address, SendStatus(row.status))
