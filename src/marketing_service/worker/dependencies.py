"""The use cases of one worker process.

This is the worker's part of the composition root: like bootstrap.py it reads the settings, and gives each use case only
the values that it needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from marketing_service.campaigns.bulk_resends import BulkResender
from marketing_service.campaigns.suppression_imports import SuppressionImporter
from marketing_service.campaigns.test_mails import TestMailer
from marketing_service.launching import Expander, RelayProbes, ScheduledLaunches, Sweep
from marketing_service.ledger.lifecycle import probe_schedules
from marketing_service.preflight import DryRun, PreflightRules
from marketing_service.sending import BatchEnqueuer, DomainThrottle, Messages, RetryPolicy, Sender, SendingRules
from marketing_service.worker.audience_slots import AudienceSlots

if TYPE_CHECKING:
    from marketing_service.bootstrap import Resources


@dataclass(frozen=True, slots=True)
class WorkerDependencies:
    """What the jobs and the sweep call. `sender` is None if no relay is configured: then every launch fails with that
    reason."""

    resources: Resources
    audience_slots: AudienceSlots
    expander: Expander
    sender: Sender | None
    dry_run: DryRun
    test_mailer: TestMailer
    importer: SuppressionImporter
    resender: BulkResender
    scheduled_launches: ScheduledLaunches
    sweep: Sweep

    @classmethod
    def of(cls, resources: Resources) -> Self:
        settings = resources.settings
        transactions = resources.transactions
        postal_addresses = resources.campaign_rules.postal_addresses
        messages = Messages(transactions, public_base_url=settings.public_base_url, postal_addresses=postal_addresses)
        enqueuer = BatchEnqueuer(
            transactions, resources.job_queue, window=settings.batch_window, requeue_after=settings.requeue_seconds
        )
        retries = RetryPolicy(settings.retry_delays)
        resend_ambiguous = settings.ambiguous_sends == "resend"
        sender = None
        if resources.mailer is not None:
            sender = Sender(
                transactions,
                resources.call,
                mailer=resources.mailer,
                messages=messages,
                tokens=resources.tokens,
                bounces=resources.bounces,
                enqueuer=enqueuer,
                retries=retries,
                rates=resources.rates,
                throttle=DomainThrottle(first_backoff=settings.domain_backoff_seconds),
                rules=SendingRules(
                    max_connections=settings.smtp_connections,
                    lease=settings.lease_seconds,
                    resend_ambiguous=resend_ambiguous,
                    probes=probe_schedules(settings.relay_probe_seconds),
                ),
            )
        return cls(
            resources=resources,
            audience_slots=AudienceSlots(transactions, number=settings.worker_audiences),
            expander=Expander(
                transactions,
                audience=resources.audience,
                messages=messages,
                enqueuer=enqueuer,
                relay_configured=resources.mailer is not None,
                time_limit=settings.launch_patience,
                lease=settings.lease_seconds,
            ),
            dry_run=DryRun(
                transactions,
                audience=resources.audience,
                records=resources.records,
                mailer=resources.mailer,
                rules=PreflightRules(
                    relay_configured=resources.mailer is not None,
                    public_base_url=settings.public_base_url,
                    postal_addresses=postal_addresses,
                    dkim_selector=settings.dkim_selector,
                    bounce_domain=settings.bounce_domain,
                    time_limit=settings.launch_patience,
                    lease=settings.lease_seconds,
                ),
            ),
            sender=sender,
            test_mailer=TestMailer(
                transactions,
                mailer=resources.mailer,
                messages=messages,
                tokens=resources.tokens,
                rates=resources.rates,
            ),
            importer=SuppressionImporter(transactions),
            resender=BulkResender(transactions, resources.audience, lease=settings.lease_seconds),
            scheduled_launches=ScheduledLaunches(
                transactions,
                audience=resources.audience,
                job_queue=resources.job_queue,
                rules=resources.campaign_rules,
                mailer=resources.mailer,
            ),
            sweep=Sweep(
                transactions,
                job_queue=resources.job_queue,
                enqueuer=enqueuer,
                probes=_probes(resources),
                retries=retries,
                resend_ambiguous=resend_ambiguous,
            ),
        )

    def drain(self) -> None:
        """Start no new work; finish the sends that are already marked."""
        self.expander.drain()
        self.dry_run.drain()
        self.importer.drain()
        self.resender.drain()
        if self.sender is not None:
            self.sender.drain()


def _probes(resources: Resources) -> RelayProbes | None:
    if resources.mailer is None:
        return None
    bounces = resources.bounces
    return RelayProbes(
        resources.transactions,
        resources.mailer,
        schedules=probe_schedules(resources.settings.relay_probe_seconds),
        # A return path of the campaign's own domain, that no send has.
        sender_of=lambda campaign: campaign.from_email if bounces is None else bounces.of(campaign.id, 0),
    )
