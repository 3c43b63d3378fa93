"""Test mails: requested by a user, each sent at most once, counted nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from marketing_service.store.rules import opt_out_blocks
from marketing_service.store.states import SkipReason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.addresses import MailboxKey


class LeftOut(NamedTuple):
    """A mailbox that a test mail is not sent to, and the reason."""

    address: MailboxKey
    reason: SkipReason


class StartedTestMail(NamedTuple):
    """A test mail that was just started, and its recipients."""

    org_id: str
    campaign_id: UUID
    recipients: Sequence[str]


_ADD = text(
    """
    INSERT INTO marketing_test_mails (org_id, campaign_id, recipients, created_by)
    VALUES (:org_id, :campaign_id, :recipients, :requested_by) RETURNING id
    """
)


async def add_test_mail(
    connection: AsyncConnection, *, org_id: str, campaign_id: UUID, recipients: Sequence[str], requested_by: str
) -> UUID:
    """Store the request; returns the id of the test mail."""
    values = {
        "org_id": org_id,
        "campaign_id": campaign_id,
        "recipients": list(recipients),
        "requested_by": requested_by,
    }
    test_mail_id: UUID = (await connection.execute(_ADD, values)).scalar_one()
    return test_mail_id


# Nobody has asked the CRM about these addresses, so every opt-out outweighs what the CRM says: -infinity.
_LEFT_OUT = text(
    f"""
    SELECT address, '{SkipReason.SUPPRESSED}' AS reason FROM marketing_suppressions
    WHERE org_id = :org_id AND address = ANY(:addresses)
    UNION ALL
    SELECT o.address, '{SkipReason.OPTED_OUT}' FROM marketing_opt_outs o
    WHERE o.org_id = :org_id AND o.address = ANY(:addresses) AND {opt_out_blocks("o", read_at="'-infinity'")}
    """
)


async def left_out_among(connection: AsyncConnection, *, org_id: str, addresses: Sequence[MailboxKey]) -> list[LeftOut]:
    """Those of the addresses that are suppressed or have opted out. An address may be both: two entries."""
    rows = await connection.execute(_LEFT_OUT, {"org_id": org_id, "addresses": list(addresses)})
    return [LeftOut(row.address, SkipReason(row.reason)) for row in rows]


_DUE = text("SELECT id FROM marketing_test_mails WHERE started_at IS NULL AND created_at > now() - interval '1 hour'")


async def due_test_mails(connection: AsyncConnection) -> list[UUID]:
    """The test mails of the last hour that are not started. After an hour nobody waits for a test mail any more."""
    return list((await connection.execute(_DUE)).scalars())


_START = text(
    """
    UPDATE marketing_test_mails SET started_at = now() WHERE id = :id AND started_at IS NULL
    RETURNING org_id, campaign_id, recipients
    """
)


async def start_test_mail(connection: AsyncConnection, test_mail_id: UUID) -> StartedTestMail | None:
    """Mark it as started; None if it was started before, or does not exist."""
    row = (await connection.execute(_START, {"id": test_mail_id})).one_or_none()
    return None if row is None else StartedTestMail(row.org_id, row.campaign_id, row.recipients)


_RESET = text("UPDATE marketing_test_mails SET started_at = NULL WHERE id = :id AND finished_at IS NULL")


async def reset_test_mail(connection: AsyncConnection, test_mail_id: UUID) -> None:
    """Make it due again: nothing of it was submitted."""
    await connection.execute(_RESET, {"id": test_mail_id})


_FINISH = text("UPDATE marketing_test_mails SET finished_at = now() WHERE id = :id")


async def finish_test_mail(connection: AsyncConnection, test_mail_id: UUID) -> None:
    await connection.execute(_FINISH, {"id": test_mail_id})
