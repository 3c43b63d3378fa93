"""Bounces and complaints: a message came back to an address of ours, and what it says is written down."""

from __future__ import annotations

import asyncio
import re
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import structlog

from marketing_service.errors import Unavailable
from marketing_service.ledger.bounces import Bounce, confirm, record_bounce
from marketing_service.reports import Kind, read_report
from marketing_service.store.sends import reported_send
from marketing_service.store.states import FailReason, SendStatus
from marketing_service.tokens import Bounced, Mailbox, Purpose
from marketing_service.tracking.opt_outs import opt_out
from marketing_service.tracking.public import organisation_of

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.db import Transactions
    from marketing_service.ports import JobQueue
    from marketing_service.reports import Failure, Report
    from marketing_service.store.sends import ReportedSend
    from marketing_service.tokens import BounceAddresses, TokenKeyring

log = structlog.get_logger(__name__)

# Seconds. A relay on the same machine can report before its 250 is written down here.
_PATIENCE = (0.1, 0.2, 0.4, 0.8)
_UNSUBSCRIBE = re.compile(r"/unsubscribe/([A-Za-z0-9_-]{43})(?![A-Za-z0-9_-])")
_MAX_LINKS = 20


class Outcome(StrEnum):
    """What came of a message that came back."""

    BOUNCED_HARD = "BOUNCED_HARD"
    BOUNCED_SOFT = "BOUNCED_SOFT"
    CONFIRMED = "CONFIRMED"
    """An UNCONFIRMED send has left after all."""
    OPTED_OUT = "OPTED_OUT"
    """A complaint is heard as an opt-out."""
    NOTHING = "NOTHING"
    """It says nothing new: delayed, no report, replayed, or about an older attempt."""
    UNKNOWN = "UNKNOWN"
    """It proves no send of ours."""


class Handled(NamedTuple):
    """What a message said, and what came of it."""

    kind: Kind
    outcome: Outcome


class Reports:
    """What to do with messages that come back, whichever door they come through."""

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
        self._max_soft = soft_bounces

    def knows(self, recipient: str) -> bool:
        """Whether the address is one of ours, and proven where it is a return path. Asks nobody."""
        return self._addresses.read(recipient) is not None

    async def take(self, recipient: str, raw: bytes, *, org_id: str | None = None) -> Handled:
        """Do what the message asks for; committed when it returns. With `org_id` only that organisation's sends count.

        Raises Unavailable where PostgreSQL does not answer, and where the relay's own answer to the message is not
        written down yet: the message is to be brought again.
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
            send_id = about.send_id if isinstance(about, Bounced) else self._complained_of(report.about)
            return Outcome.UNKNOWN if send_id is None else await self._complaint(send_id, org_id)
        if not isinstance(about, Bounced):
            return Outcome.NOTHING
        for pause in _PATIENCE:
            outcome = await self._once(about, report, org_id)
            if outcome is not None:
                return outcome
            await asyncio.sleep(pause)
        raise Unavailable("The relay", "The relay's answer to this message is not known yet; bring the report again.")

    def _complained_of(self, text: str) -> UUID | None:
        """The send that a message proves to be of, by its unsubscribe link or by its return path."""
        for token in _UNSUBSCRIBE.findall(text)[:_MAX_LINKS]:
            send_id = self._tokens.read(Purpose.UNSUBSCRIBE, token)
            if send_id is not None:
                return send_id
        bounced = self._addresses.find(text)
        return None if bounced is None else bounced.send_id

    async def _complaint(self, send_id: UUID, org_id: str | None) -> Outcome:
        """As following the link is; but the same complaint, replayed after somebody has subscribed again, does not
        count twice."""
        owner = await self._owner(send_id, org_id)
        if owner is None:
            return Outcome.UNKNOWN
        async with self._transactions(owner) as tx:
            send = await reported_send(tx.connection, send_id)
        if send is None or send.unsubscribed_at is not None:
            return Outcome.NOTHING
        return Outcome.OPTED_OUT if await opt_out(self._transactions, self._job_queue, send_id) else Outcome.UNKNOWN

    async def _once(self, about: Bounced, report: Report, org_id: str | None) -> Outcome | None:
        """None where it is too early to say."""
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
            reason = await record_bounce(connection, send, _bounce(report.failure), max_soft=self._max_soft)
            return _OUTCOMES.get(reason, Outcome.NOTHING)
        # Whoever writes to the return path of an attempt has it from the message that the attempt handed over.
        if send.status is SendStatus.UNCONFIRMED and await confirm(connection, send):
            return Outcome.CONFIRMED
        return Outcome.NOTHING

    async def _owner(self, send_id: UUID, org_id: str | None) -> str | None:
        """The send's organisation, None where it is not the one asked for."""
        owner = await organisation_of(self._transactions, send_id)
        return owner if org_id in (None, owner) else None


_OUTCOMES: dict[FailReason | None, Outcome] = {
    FailReason.BOUNCED_HARD: Outcome.BOUNCED_HARD,
    FailReason.BOUNCED_SOFT: Outcome.BOUNCED_SOFT,
}


def _bounce(failure: Failure) -> Bounce:
    return Bounce(
        is_hard=failure.is_hard,
        about_address=failure.about_address,
        smtp_code=failure.smtp_code,
        enhanced_code=failure.enhanced_code,
        message=failure.text,
    )
