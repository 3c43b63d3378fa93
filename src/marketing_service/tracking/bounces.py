"""Bounces and complaints: a report arrives at an address of this service, and the ledger records what it says."""

from __future__ import annotations

import asyncio
import re
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import structlog

from marketing_service.errors import Unavailable
from marketing_service.ledger.bounces import Bounce, confirm, record_bounce
from marketing_service.reports import Kind, read_report
from marketing_service.store.sends import organisation_of_send, reported_send
from marketing_service.store.states import FailReason, SendStatus
from marketing_service.tokens import Bounced, Mailbox, Purpose
from marketing_service.tracking.opt_outs import opt_out

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.db import Transactions
    from marketing_service.ports import JobQueue
    from marketing_service.reports import Failure, Report
    from marketing_service.store.sends import ReportedSend
    from marketing_service.tokens import BounceAddresses, TokenKeyring

log = structlog.get_logger(__name__)

_RETRY_DELAYS = (0.1, 0.2, 0.4, 0.8)
"""Seconds to wait for the outcome of the send: a relay on the same machine can report before its 250 is recorded."""
_UNSUBSCRIBE = re.compile(r"/unsubscribe/([A-Za-z0-9_-]{43})(?![A-Za-z0-9_-])")
_MAX_LINKS = 20


class Outcome(StrEnum):
    """What a report changed."""

    BOUNCED_HARD = "BOUNCED_HARD"
    BOUNCED_SOFT = "BOUNCED_SOFT"
    CONFIRMED = "CONFIRMED"
    """The report proves that an UNCONFIRMED send was delivered to the relay."""
    OPTED_OUT = "OPTED_OUT"
    """A complaint counts as an opt-out."""
    NOTHING = "NOTHING"
    """The report has no new information: a delay, no report at all, a duplicate, or about an older attempt."""
    UNKNOWN = "UNKNOWN"
    """The report does not prove that it is about a send of this service."""


class Handled(NamedTuple):
    """The kind of a report, and its outcome."""

    kind: Kind
    outcome: Outcome


class ReportHandler:
    """Handles reports, whether they arrive over LMTP, SMTP, HTTP or a pipe."""

    def __init__(
        self,
        transactions: Transactions,
        job_queue: JobQueue,
        *,
        tokens: TokenKeyring,
        addresses: BounceAddresses,
        soft_bounces: int,
    ) -> None:
        self._transactions = transactions
        self._job_queue = job_queue
        self._tokens = tokens
        self._addresses = addresses
        self._soft_bounces = soft_bounces

    def accepts(self, recipient: str) -> bool:
        """Whether the recipient is an address of this service. The signature of a return path is checked. Runs no
        query."""
        return self._addresses.read(recipient) is not None

    async def handle(self, recipient: str, raw: bytes, *, org_id: str | None = None) -> Handled:
        """Record what the report says; everything is committed when this returns. With `org_id`, only sends of that
        organisation are changed.

        Raises Unavailable if PostgreSQL does not answer, or if the relay's reply to the message is not recorded yet.
        Then the report must be delivered again.
        """
        about = self._addresses.read(recipient)
        if about is None:
            return Handled(Kind.OTHER, Outcome.UNKNOWN)
        report = await asyncio.to_thread(read_report, raw)
        handled = Handled(report.kind, await self._act(about, report, org_id))
        log.info("report_handled", kind=handled.kind, outcome=handled.outcome)
        return handled

    async def _act(self, about: Bounced | Mailbox, report: Report, org_id: str | None) -> Outcome:
        if report.kind is Kind.COMPLAINT:
            send_id = about.send_id if isinstance(about, Bounced) else self._complained_of(report.original_header)
            return Outcome.UNKNOWN if send_id is None else await self._complaint(send_id, org_id)
        if not isinstance(about, Bounced):
            return Outcome.NOTHING
        for delay in _RETRY_DELAYS:
            outcome = await self._bounce(about, report, org_id)
            if outcome is not None:
                return outcome
            await asyncio.sleep(delay)
        raise Unavailable(
            "The relay", "The relay's reply to this message is not recorded yet; deliver the report again later."
        )

    def _complained_of(self, text: str) -> UUID | None:
        """The send that the text of a complaint is about. The unsubscribe link or the return path in it proves it."""
        for token in _UNSUBSCRIBE.findall(text)[:_MAX_LINKS]:
            send_id = self._tokens.read(Purpose.UNSUBSCRIBE, token)
            if send_id is not None:
                return send_id
        bounced = self._addresses.find(text)
        return None if bounced is None else bounced.send_id

    async def _complaint(self, send_id: UUID, org_id: str | None) -> Outcome:
        """Opt the address out, as its unsubscribe link does. A complaint about a send counts only once: a copy of it
        must not opt out a person who has subscribed again."""
        owner = await self._owner(send_id, org_id)
        if owner is None:
            return Outcome.UNKNOWN
        async with self._transactions(owner) as tx:
            send = await reported_send(tx.connection, send_id)
        if send is None or send.unsubscribed_at is not None:
            return Outcome.NOTHING
        return Outcome.OPTED_OUT if await opt_out(self._transactions, self._job_queue, send_id) else Outcome.UNKNOWN

    async def _bounce(self, about: Bounced, report: Report, org_id: str | None) -> Outcome | None:
        """None if the send is still SENDING, so that its outcome is not recorded yet."""
        owner = await self._owner(about.send_id, org_id)
        if owner is None:
            return Outcome.UNKNOWN
        async with self._transactions(owner) as tx:
            send = await reported_send(tx.connection, about.send_id)
            if send is None or send.attempts != about.attempt:
                return Outcome.NOTHING
            if send.status is SendStatus.SENDING:
                return None
            return await self._record(tx.connection, send, report)

    async def _record(self, connection: AsyncConnection, send: ReportedSend, report: Report) -> Outcome:
        if report.failure is not None:
            reason = await record_bounce(connection, send, _bounce_of(report.failure), max_soft=self._soft_bounces)
            return _OUTCOMES.get(reason, Outcome.NOTHING)
        # Only the submitted message contains the return path of its attempt, so a reply to it proves the submission.
        if send.status is SendStatus.UNCONFIRMED and await confirm(connection, send):
            return Outcome.CONFIRMED
        return Outcome.NOTHING

    async def _owner(self, send_id: UUID, org_id: str | None) -> str | None:
        """The send's organisation. None if there is no such send, or if `org_id` is another organisation."""
        async with self._transactions() as tx:
            owner = await organisation_of_send(tx.connection, send_id)
        return owner if org_id in (None, owner) else None


_OUTCOMES: dict[FailReason | None, Outcome] = {
    FailReason.BOUNCED_HARD: Outcome.BOUNCED_HARD,
    FailReason.BOUNCED_SOFT: Outcome.BOUNCED_SOFT,
}


def _bounce_of(failure: Failure) -> Bounce:
    return Bounce(
        is_hard=failure.is_hard,
        about_address=failure.is_about_address,
        smtp_code=failure.smtp_code,
        enhanced_code=failure.enhanced_code,
        message=failure.text,
    )
