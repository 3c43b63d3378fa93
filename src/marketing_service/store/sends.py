"""Looking up one send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.store.rules import is_soon_after_delivery, requested_together
from marketing_service.store.states import SendStatus

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.addresses import MailboxKey


@dataclass(frozen=True, slots=True)
class ReportedSend:
    """A send that a report, or its unsubscribe link, names."""

    id: UUID
    org_id: str
    campaign_id: UUID
    address: MailboxKey
    status: SendStatus
    attempts: int
    unsubscribed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ResendCandidate:
    """A send that a user wants to be sent again."""

    contact_id: str
    address: MailboxKey
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


_NOTE_LINK_REQUEST = text("UPDATE marketing_sends SET link_requested_at = clock_timestamp() WHERE id = :send_id")


async def note_link_request(connection: AsyncConnection, send_id: UUID) -> None:
    """Record that a link of the send was requested just now, by a request that counts as no click."""
    await connection.execute(_NOTE_LINK_REQUEST, {"send_id": send_id})


_AUTOMATED = text(
    f"""
    SELECT {is_soon_after_delivery("s", ":soon")} AS is_soon, {requested_together("s", ":together")} AS is_together
    FROM marketing_sends s WHERE s.id = :send_id
    """
)


async def looks_automated(
    connection: AsyncConnection, send_id: UUID, *, soon_seconds: float, together_seconds: float
) -> tuple[bool, bool]:
    """Whether the delivery was within `soon_seconds` before now, and whether the pixel or another link of the send was
    requested within `together_seconds` before now. The clock is that of PostgreSQL."""
    key = {"send_id": send_id, "soon": soon_seconds, "together": together_seconds}
    row = (await connection.execute(_AUTOMATED, key)).one_or_none()
    return (False, False) if row is None else (row.is_soon, row.is_together)


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
