"""Test sends: up to five addresses get the message as the sample recipient would; counted nowhere."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import structlog

from marketing_service.errors import Unavailable
from marketing_service.ports import Envelope, RelayDown
from marketing_service.rendering import SAMPLE, MergeFields, Personal, ascii_address
from marketing_service.store import test_mails as store
from marketing_service.tokens import Purpose

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from marketing_service.db import Transaction, Transactions
    from marketing_service.ports import JobQueue, Mailer, RateLimiter
    from marketing_service.rendering import CompiledMessage
    from marketing_service.sending.messages import Messages
    from marketing_service.tokens import TokenKeyring

log = structlog.get_logger(__name__)

MAX_RECIPIENTS = 5


async def request_test_mail(
    tx: Transaction,
    job_queue: JobQueue,
    *,
    org_id: str,
    campaign_id: UUID,
    recipients: Sequence[str],
    requested_by: str,
) -> None:
    """Have the campaign's present message sent to `recipients` as soon as this commits."""
    test_mail_id = await store.add_test_mail(
        tx.connection, org_id=org_id, campaign_id=campaign_id, recipients=recipients, requested_by=requested_by
    )
    tx.after_commit(partial(job_queue.enqueue_test_mail, test_mail_id))


class TestMailer:
    """Sends tests, each at most once."""

    __test__ = False  # not a test case, whatever its name suggests to pytest

    def __init__(
        self,
        transactions: Transactions,
        *,
        mailer: Mailer | None,
        messages: Messages,
        tokens: TokenKeyring,
        rates: RateLimiter | None,
    ) -> None:
        self._transactions = transactions
        self._mailer = mailer
        self._messages = messages
        self._tokens = tokens
        self._rates = rates

    async def send(self, test_mail_id: UUID) -> None:
        """Send one test. With the relay down, or its rates used up, it waits for the next sweep; without a relay it
        comes to nothing."""
        if self._mailer is None:
            log.warning("test_mail_without_relay", test_mail_id=str(test_mail_id))
            return
        async with self._transactions() as tx:
            test_mail = await store.start_test_mail(tx.connection, test_mail_id)
        if test_mail is None:
            return
        message = await self._messages.of_current_version(test_mail.campaign_id)
        submitted = 0
        try:
            for recipient in test_mail.recipients:
                await self._wait_for_rate(test_mail.org_id, begun=submitted > 0)
                async with self._mailer.connection() as connection:
                    envelope = self._envelope(message, test_mail_id, recipient, eight_bit=connection.eight_bit)
                    outcome = await connection.submit(envelope)
                submitted += 1
                log.info("test_mail_sent", test_mail_id=str(test_mail_id), outcome=outcome.outcome, phase=outcome.phase)
        except (RelayDown, Unavailable) as obstacle:
            log.warning("test_mail_postponed", test_mail_id=str(test_mail_id), error=obstacle.detail)
            if not submitted:
                async with self._transactions() as tx:
                    await store.reset_test_mail(tx.connection, test_mail_id)
                return
        async with self._transactions() as tx:
            await store.finish_test_mail(tx.connection, test_mail_id)

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

    def _envelope(self, message: CompiledMessage, test_mail_id: UUID, recipient: str, *, eight_bit: bool) -> Envelope:
        personal = Personal(
            send_id=test_mail_id,
            fields=MergeFields(recipient, SAMPLE.first_name, SAMPLE.last_name, SAMPLE.company_name),
            date=datetime.now(UTC),
            unsubscribe_token=self._tokens.issue(Purpose.UNSUBSCRIBE, test_mail_id),
            open_token=None,
            test=True,
        )
        return Envelope(
            message.from_address,
            ascii_address(recipient),
            message.render(personal, eight_bit=eight_bit),
        )
