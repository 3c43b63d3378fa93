"""A dry run of a launch: it checks the message and the whole audience, and writes only its report."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from marketing_service.addresses import read_address
from marketing_service.backoff import ExponentialBackoff
from marketing_service.ports import AudienceRefused, AudienceUnavailable, RelayDown
from marketing_service.preflight.audience_reading import AudienceEndless, ReadingLimit, never
from marketing_service.preflight.audience_stats import AudienceStats
from marketing_service.preflight.sender_domain import domain_findings
from marketing_service.preflight.unknown_statuses import find_unknown_statuses
from marketing_service.rendering import (
    SAMPLE,
    TOKEN_LENGTH,
    Finding,
    LargestMessage,
    NotRenderable,
    RecipientData,
    RenderCheck,
    Severity,
    TemplateError,
    ascii_address,
    compile_message,
    larger_body,
    lint,
    merge_tag_findings,
    missing_postal_address,
    one_click_possible,
    size_problem,
)
from marketing_service.store import opt_outs, preflights
from marketing_service.store.suppressions import suppressed_among

if TYPE_CHECKING:
    from marketing_service.db import Transactions
    from marketing_service.ports import AudienceSource, Mailer, SizeLimit, TextRecords
    from marketing_service.preflight.audience_reading import MustYield
    from marketing_service.rendering import MessageSource, PostalAddresses
    from marketing_service.store.preflights import PreflightAttempt

log = structlog.get_logger(__name__)

_BACKOFF = ExponentialBackoff(first=1.0, maximum=60.0)


@dataclass(frozen=True, slots=True)
class PreflightRules:
    """The settings that a preflight needs."""

    relay_configured: bool
    public_base_url: str
    postal_addresses: PostalAddresses
    dkim_selector: str | None
    bounce_domain: str | None
    """The domain of the envelope's sender, if it differs from From's domain."""
    time_limit: float
    """Seconds. If the audience cannot be read so long after the request, or if one attempt reads for so long, the
    preflight fails."""
    lease: float
    """Seconds for which an attempt owns the preflight. Each page renews it."""


class _Superseded(Exception):
    """Another attempt owns the preflight, or a newer preflight was requested."""


class DryRun:
    """Runs preflights. Its memory hardly grows with the audience (see AudienceStats)."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        audience: AudienceSource,
        records: TextRecords,
        mailer: Mailer | None,
        rules: PreflightRules,
    ) -> None:
        self._transactions = transactions
        self._audience = audience
        self._records = records
        self._mailer = mailer
        self._rules = rules
        self._draining = False

    def drain(self) -> None:
        """Start no attempt, and end the running ones at their next page. Another process starts them again."""
        self._draining = True

    async def check(self, campaign_id: UUID, *, must_yield: MustYield = never) -> None:
        """Make one attempt at the campaign's preflight. Does nothing if another attempt owns it, or if it is finished.
        After a page for which `must_yield` is true, the attempt ends, and the preflight is due again.

        Raises Unavailable if PostgreSQL does not answer. Then the lease expires, and the sweep enqueues the preflight
        again.
        """
        if self._draining:
            return
        async with self._transactions() as tx:
            attempt = await preflights.claim_preflight(
                tx.connection, campaign_id, lease=self._rules.lease, postal_addresses=self._rules.postal_addresses
            )
        if attempt is None:
            return
        with structlog.contextvars.bound_contextvars(campaign_id=str(campaign_id), attempt=attempt.epoch):
            try:
                await self._attempt(attempt, must_yield)
            except (AudienceRefused, AudienceEndless) as error:
                await self._fail(attempt, str(error))
            except AudienceUnavailable as error:
                await self._try_again(attempt, error)
            except _Superseded:
                log.info("preflight_superseded")

    async def _attempt(self, attempt: PreflightAttempt, must_yield: MustYield) -> None:
        if attempt.changed:
            await self._fail(attempt, "The campaign was changed before the check started.")
            return
        findings = [] if self._rules.relay_configured else [_NO_RELAY]
        try:
            limit = await self._size_limit()
            eight_bit = limit is None or limit.eight_bit
            render_check, of_message, largest = await asyncio.to_thread(
                _try_out, attempt.message, self._rules.public_base_url, eight_bit=eight_bit
            )
        except (TemplateError, NotRenderable) as error:
            await self._fail(attempt, f"The message cannot be rendered: {error}")
            return
        findings += of_message
        domain = ascii_address(attempt.message.from_email).rpartition("@")[2]
        findings += await domain_findings(
            self._records,
            domain,
            envelope_domain=self._rules.bounce_domain or domain,
            dkim_selector=self._rules.dkim_selector,
        )
        findings += await self._unknown_statuses(attempt)
        stats = AudienceStats(render_check, largest)
        if not await self._count(attempt, stats, must_yield):
            async with self._transactions() as tx:
                await preflights.postpone_preflight(tx.connection, attempt, delay=0.0)
            return
        if limit is not None and limit.octets is not None and largest.octets > limit.octets:
            problem, place = size_problem(largest.octets, limit.octets), larger_body(attempt.message)
            findings.append(Finding("MESSAGE_TOO_LARGE", Severity.ERROR, problem, place))
        await self._finish(attempt, findings, stats, largest)

    async def _size_limit(self) -> SizeLimit | None:
        """What the relay says about the size of messages; None if it cannot be asked now."""
        if self._mailer is None:
            return None
        try:
            return await self._mailer.message_size_limit()
        except RelayDown:
            return None

    async def _unknown_statuses(self, attempt: PreflightAttempt) -> list[Finding]:
        unknown = await find_unknown_statuses(self._audience, attempt.org_id, attempt.audience)
        if unknown is None:
            return []
        return [Finding("STATUS_UNKNOWN", Severity.ERROR, unknown.message, "audience.statuses", count=unknown.number)]

    async def _count(self, attempt: PreflightAttempt, stats: AudienceStats, must_yield: MustYield) -> bool:
        """Count the whole audience. False if the process drains or must yield before the end."""
        end = ReadingLimit(seconds=self._rules.time_limit)
        started = datetime.now(UTC)
        expected = await self._audience.count(attempt.org_id, attempt.audience)
        fetched = 0
        async with aclosing(self._audience.pages(attempt.org_id, attempt.audience)) as pages:
            async for page in pages:
                if self._draining:
                    return False
                contacts = [(contact, read_address(contact.email)) for contact in page.contacts if contact.email]
                addresses = [mailbox.key for _, mailbox in contacts]
                unfindable = [(contact.id, mailbox.key) for contact, mailbox in contacts if not mailbox.is_findable]
                fetched += len(page.contacts)
                async with self._transactions() as tx:
                    blocked = await opt_outs.blocked_among(
                        tx.connection, org_id=attempt.org_id, addresses=addresses, read_at=started
                    )
                    suppressed = await suppressed_among(tx.connection, org_id=attempt.org_id, addresses=addresses)
                    missed = await opt_outs.missed_among(tx.connection, org_id=attempt.org_id, unfindable=unfindable)
                    if not await preflights.count_fetched(
                        tx.connection,
                        attempt,
                        fetched=fetched,
                        expected=max(expected, fetched),
                        lease=self._rules.lease,
                    ):
                        raise _Superseded
                # In a thread: rendering a thousand messages takes a while, and the event loop is sending others.
                await asyncio.to_thread(stats.add, contacts, blocked, suppressed, missed)
                end.check(fetched)
                if await must_yield():
                    return False
        return True

    async def _finish(
        self, attempt: PreflightAttempt, findings: list[Finding], stats: AudienceStats, largest: LargestMessage
    ) -> None:
        left_out = await self._audience.left_out(attempt.org_id, attempt.audience)
        findings += stats.findings(left_out)
        async with self._transactions() as tx:
            pace = await preflights.recent_pace(tx.connection)
            report = preflights.PreflightReport(
                opted_out=left_out.opted_out + stats.opted_out,
                without_address=left_out.without_address,
                malformed=stats.malformed,
                suppressed=stats.suppressed,
                duplicates=stats.duplicates,
                recipients=stats.recipients,
                estimated_seconds=None if pace is None else round(stats.recipients / pace, 1),
                findings=tuple(sorted(findings, key=lambda finding: _ORDER[finding.severity])),
                largest_octets=largest.octets,
                eight_bit=largest.eight_bit,
            )
            if not await preflights.finish_preflight(tx.connection, attempt, report):
                raise _Superseded
        log.info("preflight_finished", recipients=report.recipients, findings=len(report.findings))

    async def _try_again(self, attempt: PreflightAttempt, error: AudienceUnavailable) -> None:
        waited = (datetime.now(UTC) - attempt.requested_at).total_seconds()
        if waited > self._rules.time_limit:
            await self._fail(attempt, f"The CRM could not be read: {error}")
            return
        delay = max(_BACKOFF.delay_after(waited), error.retry_after or 0.0)
        log.warning("preflight_postponed", reason=str(error), delay=delay)
        async with self._transactions() as tx:
            await preflights.postpone_preflight(tx.connection, attempt, delay=delay)

    async def _fail(self, attempt: PreflightAttempt, failure: str) -> None:
        log.warning("preflight_failed", reason=failure)
        async with self._transactions() as tx:
            await preflights.fail_preflight(tx.connection, attempt, failure)


_ORDER = {severity: place for place, severity in enumerate(Severity)}
_NO_RELAY = Finding(
    "SMTP_NOT_CONFIGURED", Severity.ERROR, "No SMTP relay is configured, so a launch would fail.", "installation"
)


def _try_out(
    source: MessageSource, public_base_url: str, *, eight_bit: bool
) -> tuple[RenderCheck, list[Finding], LargestMessage]:
    """The templates, ready to be rendered for contacts, the findings about the message itself, and what measures its
    size. Raises TemplateError and NotRenderable."""
    message = compile_message(source, public_base_url=public_base_url, one_click=one_click_possible(public_base_url))
    token = "x" * TOKEN_LENGTH
    personal = RecipientData(UUID(int=0), SAMPLE, datetime.fromtimestamp(0, UTC), token, token, token)
    html = message.bodies(personal)[1]
    findings = [*lint(source.html_body, source.text_body, html=html), *merge_tag_findings(source.written)]
    findings += missing_postal_address(source, message)
    render_check = RenderCheck(source.subject, source.html_body, source.text_body, source.preheader)
    return render_check, findings, LargestMessage(message, eight_bit=eight_bit)
