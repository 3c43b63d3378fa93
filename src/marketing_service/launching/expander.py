"""Expands a launched campaign: stages its audience page by page, then merges all pages in one transaction.

The campaign gets its complete recipient list, or none.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from marketing_service.addresses import read_address
from marketing_service.backoff import ExponentialBackoff
from marketing_service.ledger import expansion, lifecycle
from marketing_service.ports import Audience, AudienceRefused, AudienceType, AudienceUnavailable
from marketing_service.preflight import AudienceEndless, ReadingLimit, find_unknown_statuses, never
from marketing_service.rendering import NotRenderable, TemplateError
from marketing_service.storable_text import storable
from marketing_service.store import expansions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from marketing_service.db import Transactions
    from marketing_service.ports import AudienceSource, Contact, ContactPage
    from marketing_service.preflight import MustYield
    from marketing_service.sending.enqueueing import BatchEnqueuer
    from marketing_service.sending.messages import Messages
    from marketing_service.store.expansions import Expansion

log = structlog.get_logger(__name__)

_BACKOFF = ExponentialBackoff(first=1.0, maximum=60.0)


@dataclass(frozen=True, slots=True)
class _Failure(Exception):
    """The launch has failed, and is not retried."""

    code: lifecycle.FailureCode
    message: str


class Expander:
    """Expands launched campaigns.

    `time_limit` is in seconds: if the audience cannot be read so long after the launch, or if one attempt reads for so
    long, the launch fails. `lease` is the number of seconds for which an attempt owns the expansion; each page renews
    it.
    """

    def __init__(
        self,
        transactions: Transactions,
        *,
        audience: AudienceSource,
        messages: Messages,
        enqueuer: BatchEnqueuer,
        relay_configured: bool,
        time_limit: float,
        lease: float,
    ) -> None:
        self._transactions = transactions
        self._audience = audience
        self._messages = messages
        self._enqueuer = enqueuer
        self._relay_configured = relay_configured
        self._time_limit = time_limit
        self._lease = lease
        self._draining = False
        self.failures: Counter[lifecycle.FailureCode] = Counter()
        """Launches that this process made FAILED, for the metrics."""

    def drain(self) -> None:
        """Start no attempt, and end the running ones at their next page. Another process starts them again."""
        self._draining = True

    async def expand(self, campaign_id: UUID, *, must_yield: MustYield = never) -> None:
        """Make one attempt to expand the campaign. Does nothing if another attempt owns the expansion, or if the
        campaign is already expanded. After a page for which `must_yield` is true, the attempt ends, and the expansion
        is due again.

        Raises Unavailable if PostgreSQL does not answer. Then the lease expires, and the sweep enqueues the expansion
        again.
        """
        if self._draining:
            return
        async with self._transactions() as tx:
            attempt = await expansions.claim_expansion(tx.connection, campaign_id, lease=self._lease)
        if attempt is None:
            return
        with structlog.contextvars.bound_contextvars(campaign_id=str(campaign_id), attempt=attempt.epoch):
            try:
                await self._attempt(attempt, must_yield)
            except _Failure as failure:
                await self._fail(attempt, failure)
            except AudienceRefused as error:
                await self._fail(attempt, _Failure(lifecycle.FailureCode.CRM_REFUSED, str(error)))
            except AudienceEndless as error:
                await self._fail(attempt, _Failure(lifecycle.FailureCode.CRM_UNAVAILABLE, str(error)))
            except AudienceUnavailable as error:
                await self._try_again(attempt, error)
            except expansion.StagingIncomplete:
                await self._postpone(attempt, delay=1.0)
        await self._enqueuer.enqueue(campaign_id)

    async def _attempt(self, attempt: Expansion, must_yield: MustYield) -> None:
        if not self._relay_configured:
            raise _Failure(
                lifecycle.FailureCode.SMTP_NOT_CONFIGURED,
                "No SMTP relay is configured (MARKETING_SMTP_URL is empty), so nothing could be sent.",
            )
        try:
            message = await self._messages.of_launched(attempt.campaign_id)
        except (TemplateError, NotRenderable) as error:
            raise _Failure(lifecycle.FailureCode.TEMPLATE_BROKEN, str(error)) from error
        audience = Audience(AudienceType(attempt.audience_type), attempt.audience_statuses)
        await self._validate_statuses(attempt.org_id, audience)
        async with aclosing(self._audience.pages(attempt.org_id, audience)) as pages:
            fetched = await self._read(attempt, pages, must_yield)
        if fetched is None:
            return
        async with self._transactions() as tx:
            merged = await expansion.merge(tx.connection, attempt, links=message.links)
        log.info("campaign_expanded" if merged else "expansion_superseded", contacts=fetched)

    async def _read(self, attempt: Expansion, pages: AsyncGenerator[ContactPage], must_yield: MustYield) -> int | None:
        """Stage the pages; each is requested while the previous one is staged. Returns the number of contacts in them,
        or None if this attempt has ended."""
        fetched = number = 0
        end = ReadingLimit(seconds=self._time_limit)
        following = asyncio.ensure_future(anext(pages, None))
        try:
            while (page := await following) is not None:
                following = asyncio.ensure_future(anext(pages, None))
                contacts = [staged for contact in page.contacts if (staged := _staged(contact)) is not None]
                if not await self._stage(attempt, number, contacts):
                    log.info("expansion_superseded")
                    return None
                number += 1
                fetched += len(contacts)
                end.check(fetched)
                if self._draining or await must_yield():
                    await self._postpone(attempt, delay=0.0)
                    return None
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        return fetched

    async def _stage(self, attempt: Expansion, number: int, contacts: list[expansions.StagedContact]) -> bool:
        async with self._transactions() as tx:
            return await expansions.stage_contacts(
                tx.connection, attempt, page=number, contacts=contacts, lease=self._lease
            )

    async def _validate_statuses(self, org_id: str, audience: Audience) -> None:
        unknown = await find_unknown_statuses(self._audience, org_id, audience)
        if unknown is not None:
            raise _Failure(lifecycle.FailureCode.STATUS_UNKNOWN, unknown.message)

    async def _fail(self, attempt: Expansion, failure: _Failure) -> None:
        async with self._transactions() as tx:
            failed = await lifecycle.fail_launch(
                tx.connection, attempt.campaign_id, epoch=attempt.epoch, code=failure.code, message=failure.message
            )
        if failed:
            self.failures[failure.code] += 1
            log.warning("launch_failed", code=failure.code, reason=failure.message)

    async def _try_again(self, attempt: Expansion, error: AudienceUnavailable) -> None:
        if (datetime.now(UTC) - attempt.launched_at).total_seconds() > self._time_limit:
            await self._fail(
                attempt,
                _Failure(
                    lifecycle.FailureCode.CRM_UNAVAILABLE,
                    f"The CRM could not be read for {self._time_limit / 60:.0f} minutes: {error}",
                ),
            )
            return
        delay = max(_BACKOFF.delay(attempt.epoch), error.retry_after or 0.0)
        log.warning("expansion_postponed", reason=str(error), delay=delay)
        await self._postpone(attempt, delay=delay)

    async def _postpone(self, attempt: Expansion, *, delay: float) -> None:
        async with self._transactions() as tx:
            await expansions.postpone_expansion(tx.connection, attempt, delay=delay)


def _staged(contact: Contact) -> expansions.StagedContact | None:
    """The contact as the ledger stages it. None if it has no address or has opted out: the CRM should not return such
    contacts, but if it does, they get no mail."""
    email = (contact.email or "").strip()
    if not email or contact.marketing_opt_out:
        return None
    mailbox = read_address(contact.email or "")
    return expansions.StagedContact(
        contact_id=contact.id,
        email=storable(email),
        address=mailbox.key,
        deliverable=mailbox.is_deliverable,
        findable=mailbox.is_findable,
        first_name=contact.first_name and storable(contact.first_name),
        last_name=contact.last_name and storable(contact.last_name),
        company_name=contact.company_name and storable(contact.company_name),
    )
