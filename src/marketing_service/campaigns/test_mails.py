"""Test mails: the message, filled in for the sample recipient, to up to five addresses. No stats count them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import structlog

from marketing_service.addresses import mailbox_key
from marketing_service.campaigns.audit import record
from marketing_service.errors import Unavailable, WrongState
from marketing_service.ports import Envelope, RelayDown
from marketing_service.rendering import SAMPLE, MergeFields, NotRenderable, RecipientData, ascii_address
from marketing_service.store import test_mails as store
from marketing_service.store.audit import Action
from marketing_service.tokens import Purpose

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from marketing_service.db import Transaction, Transactions
    from marketing_service.ports import JobQueue, Mailer, RateLimiter
    from marketing_service.rendering import CompiledMessage
    from marketing_service.sending.messages import Messages
    from marketing_service.store.audit import Actor
    from marketing_service.store.states import SkipReason
    from marketing_service.tokens import TokenKeyring

log = structlog.get_logger(__name__)


async def left_out_of(tx: Transaction, org_id: str, recipients: Sequence[str]) -> dict[str, SkipReason]:
    """The recipients that are not mailed, with the reason: they have opted out, or are on the suppression list.

    Raises WrongState if that is all of them.
    """
    keys = {recipient: mailbox_key(recipient) for recipient in recipients}
    found = await store.left_out_among(tx.connection, org_id=org_id, addresses=list(keys.values()))
    reasons = {entry.address: entry.reason for entry in found}
    left_out = {recipient: reasons[key] for recipient, key in keys.items() if key in reasons}
    if len(left_out) == len(recipients):
        raise WrongState(
            "No test mail was sent: every address has opted out or is on the suppression list. Use another address."
        )
    return left_out


async def request_test_mail(
    tx: Transaction,
    job_queue: JobQueue,
    *,
    actor: Actor,
    campaign_id: UUID,
    recipients: Sequence[str],
) -> None:
    """Request a test mail of the current version to `recipients`. It is enqueued after the commit.

    Leave out the addresses of `left_out_of` before. The worker leaves out those that are added after that.
    """
    test_mail_id = await store.add_test_mail(
        tx.connection,
        org_id=actor.org_id,
        campaign_id=campaign_id,
        recipients=recipients,
        requested_by=actor.subject,
    )
    await record(tx, actor, Action.TESTED, campaign_id, recipients=len(recipients))
    tx.after_commit(partial(job_queue.enqueue_test_mail, test_mail_id))


class TestMailer:
    """Sends test mails, each at most once."""

    __test__ = False  # tells pytest that this is not a test class

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
        """Send one test mail. If the relay is down or the rate limit is reached, the next sweep tries it again. Without
        a relay it is not sent, which is logged."""
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
                if await self._is_left_out(test_mail.org_id, test_mail_id, recipient):
                    continue
                await self._wait_for_rate(test_mail.org_id, started=submitted > 0)
                async with self._mailer.connection() as connection:
                    envelope = self._envelope(message, test_mail_id, recipient, eight_bit=connection.eight_bit)
                    outcome = await connection.submit(envelope)
                submitted += 1
                log.info("test_mail_sent", test_mail_id=str(test_mail_id), outcome=outcome.outcome, phase=outcome.phase)
        except NotRenderable as error:  # validated when the test was requested, but the address is another one
            log.warning("test_mail_not_renderable", test_mail_id=str(test_mail_id), error=str(error))
        except (RelayDown, Unavailable) as obstacle:
            log.warning("test_mail_postponed", test_mail_id=str(test_mail_id), error=obstacle.detail)
            if not submitted:
                async with self._transactions() as tx:
                    await store.reset_test_mail(tx.connection, test_mail_id)
                return
        async with self._transactions() as tx:
            await store.finish_test_mail(tx.connection, test_mail_id)

    async def _is_left_out(self, org_id: str, test_mail_id: UUID, recipient: str) -> bool:
        """Whether the recipient has opted out or was suppressed since the request."""
        async with self._transactions() as tx:
            found = await store.left_out_among(tx.connection, org_id=org_id, addresses=[mailbox_key(recipient)])
        for entry in found[:1]:
            log.info("test_mail_left_out", test_mail_id=str(test_mail_id), reason=entry.reason)
        return bool(found)

    async def _wait_for_rate(self, org_id: str, *, started: bool) -> None:
        """Return when one more message is allowed. Raises Unavailable if that is not now and no message of this test
        mail was sent; after the first message it waits, because a test mail is not started twice."""
        while self._rates is not None:
            allowance = await self._rates.take(org_id, 1)
            if allowance.granted:
                return
            if not started:
                raise Unavailable(
                    "the relay", "The rate limit does not allow another message now. The next sweep tries again."
                )
            await asyncio.sleep(allowance.wait)

    def _envelope(self, message: CompiledMessage, test_mail_id: UUID, recipient: str, *, eight_bit: bool) -> Envelope:
        personal = RecipientData(
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
