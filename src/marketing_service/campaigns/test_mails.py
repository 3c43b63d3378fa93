"""Test sends: up to five addresses get the message as the sample recipient would; counted nowhere."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import text

from marketing_service.errors import Unavailable
from marketing_service.ports import Envelope, RelayDown
from marketing_service.rendering import SAMPLE, MergeFields, Personal, ascii_address
from marketing_service.tokens import Purpose

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy import TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.db import Transaction, Transactions
    from marketing_service.ports import Doorbell, Mailer, RateLimiter
    from marketing_service.rendering import CompiledMessage
    from marketing_service.sending.messages import Messages
    from marketing_service.tokens import TokenRing

log = structlog.get_logger(__name__)

MOST_RECIPIENTS = 5

_REQUEST = text(
    """
    INSERT INTO marketing_test_sends (org_id, campaign_id, recipients, created_by)
    VALUES (:org_id, :campaign_id, :recipients, :requested_by) RETURNING id
    """
)
# A test that could not go out within the hour is not waited for any more.
_DUE = text("SELECT id FROM marketing_test_sends WHERE started_at IS NULL AND created_at > now() - interval '1 hour'")
_START = text(
    """
    UPDATE marketing_test_sends SET started_at = now() WHERE id = :id AND started_at IS NULL
    RETURNING org_id, campaign_id, recipients
    """
)
_PUT_BACK = text("UPDATE marketing_test_sends SET started_at = NULL WHERE id = :id AND finished_at IS NULL")
_FINISH = text("UPDATE marketing_test_sends SET finished_at = now() WHERE id = :id")


async def request_test_send(
    tx: Transaction,
    doorbell: Doorbell,
    *,
    org_id: str,
    campaign_id: UUID,
    recipients: Sequence[str],
    requested_by: str,
) -> None:
    """Have the campaign's present message sent to `recipients` as soon as this commits."""
    test_send_id = (
        await tx.connection.execute(
            _REQUEST,
            {
                "org_id": org_id,
                "campaign_id": campaign_id,
                "recipients": list(recipients),
                "requested_by": requested_by,
            },
        )
    ).scalar_one()
    tx.after_commit(partial(doorbell.ring_test_send, test_send_id))


async def due_test_sends(connection: AsyncConnection) -> list[UUID]:
    """The test sends nobody has started."""
    return list((await connection.execute(_DUE)).scalars())


class TestSender:
    """Sends tests, each at most once."""

    __test__ = False  # not a test case, whatever its name suggests to pytest

    def __init__(
        self,
        transactions: Transactions,
        *,
        mailer: Mailer | None,
        messages: Messages,
        tokens: TokenRing,
        rates: RateLimiter | None,
    ) -> None:
        self._transactions = transactions
        self._mailer = mailer
        self._messages = messages
        self._tokens = tokens
        self._rates = rates

    async def send(self, test_send_id: UUID) -> None:
        """Send one test. With the relay down, or its rates used up, it waits for the next sweep; without a relay it
        comes to nothing."""
        if self._mailer is None:
            log.warning("test_send_without_relay", test_send_id=str(test_send_id))
            return
        async with self._transactions() as tx:
            row = (await tx.connection.execute(_START, {"id": test_send_id})).one_or_none()
        if row is None:
            return
        message = await self._messages.of_current_version(row.campaign_id)
        handed_over = 0
        try:
            for recipient in row.recipients:
                await self._wait_for_rate(row.org_id, begun=handed_over > 0)
                async with self._mailer.connection() as connection:
                    envelope = self._envelope(message, test_send_id, recipient, eight_bit=connection.eight_bit)
                    outcome = await connection.hand_over(envelope)
                handed_over += 1
                log.info("test_sent", test_send_id=str(test_send_id), fate=outcome.fate, phase=outcome.phase)
        except (RelayDown, Unavailable) as obstacle:
            log.warning("test_send_held", test_send_id=str(test_send_id), error=obstacle.detail)
            if not handed_over:
                await self._execute(_PUT_BACK, test_send_id)
                return
        await self._execute(_FINISH, test_send_id)

    async def _wait_for_rate(self, org_id: str, *, begun: bool) -> None:
        """Return when one more message may go. Raises Unavailable where that is not now, unless some have gone: a
        test is not begun twice."""
        while self._rates is not None:
            allowance = await self._rates.take(org_id, 1)
            if allowance.granted:
                return
            if not begun:
                raise Unavailable("the relay", "The rates do not allow another message now.")
            await asyncio.sleep(allowance.wait)

    def _envelope(self, message: CompiledMessage, test_send_id: UUID, recipient: str, *, eight_bit: bool) -> Envelope:
        personal = Personal(
            send_id=test_send_id,
            fields=MergeFields(recipient, SAMPLE.first_name, SAMPLE.last_name, SAMPLE.company_name),
            date=datetime.now(UTC),
            unsubscribe_token=self._tokens.issue(Purpose.UNSUBSCRIBE, test_send_id),
            open_token=None,
            test=True,
        )
        return Envelope(
            message.from_address,
            ascii_address(recipient),
            message.render(personal, eight_bit=eight_bit),
        )

    async def _execute(self, statement: TextClause, test_send_id: UUID) -> None:
        async with self._transactions() as tx:
            await tx.connection.execute(statement, {"id": test_send_id})
