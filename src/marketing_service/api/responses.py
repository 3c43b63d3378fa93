"""What callers get: JSON in camelCase, times in ISO 8601 UTC."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from marketing_service.api.requests import NewCampaign
from marketing_service.ports import AudienceType
from marketing_service.preflight import AudienceCount
from marketing_service.rendering import Preview, Severity
from marketing_service.store.campaigns import Campaign, Overview, StatsSnapshot
from marketing_service.store.email_log import LogEntry
from marketing_service.store.preflights import Preflight, PreflightStatus
from marketing_service.store.states import CampaignStatus, SendStatus

ANSWER = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, validate_by_name=True)


class _Answer(BaseModel):
    model_config = ANSWER


OpenRate = Annotated[float, Field(ge=0, le=1, description="Sends opened and DELIVERED ÷ DELIVERED; 0 without any.")]
HumanOpenRate = Annotated[
    float, Field(ge=0, le=1, description="The same, less the opens that all look like a machine's.")
]
Count = Annotated[int, Field(ge=0)]
MachineOpens = Annotated[int, Field(ge=0, description="Of the opens: those whose loads all look like a machine's.")]
Clicks = Annotated[int, Field(ge=0, description="Sends of which a link was followed, and not by a machine.")]


class AudienceResponse(_Answer):
    type: AudienceType
    statuses: list[str]


class FailureResponse(_Answer):
    """Why the launch failed."""

    code: str
    message: str


class CampaignStatsSummary(_Answer):
    recipients: Count
    delivered: Count
    failed: Count
    unconfirmed: Count
    opens: Count
    open_rate: OpenRate


class CampaignResponse(_Answer):
    """A message plus an audience, sent once."""

    id: UUID
    name: str
    from_name: str | None
    from_email: str
    reply_to: str | None
    subject: str
    html_body: str | None
    text_body: str | None
    audience: AudienceResponse
    track_clicks: bool
    status: CampaignStatus
    failure_reason: FailureResponse | None
    scheduled_at: datetime | None
    launched_at: datetime | None
    expanded_at: Annotated[datetime | None, Field(description="Since when the whole list of recipients stands.")]
    sent_at: datetime | None
    paused_at: datetime | None
    pause_reason: str | None
    cancelled_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    version: Annotated[int, Field(ge=1, description="The number in the ETag.")]
    stats: CampaignStatsSummary

    @classmethod
    def of(cls, campaign: Campaign) -> Self:
        content, stats, failure = campaign.content, campaign.stats, campaign.failure
        return cls(
            id=campaign.id,
            name=content.name,
            from_name=content.from_name,
            from_email=content.from_email,
            reply_to=content.reply_to,
            subject=content.subject,
            html_body=content.html_body,
            text_body=content.text_body,
            audience=AudienceResponse(type=content.audience.type, statuses=list(content.audience.statuses)),
            track_clicks=content.track_clicks,
            status=campaign.status,
            failure_reason=failure and FailureResponse(code=failure.code, message=failure.message),
            scheduled_at=campaign.scheduled_at,
            launched_at=campaign.launched_at,
            expanded_at=campaign.expanded_at,
            sent_at=campaign.sent_at,
            paused_at=campaign.paused_at,
            pause_reason=campaign.pause_reason,
            cancelled_at=campaign.cancelled_at,
            created_by=campaign.created_by,
            created_at=campaign.created_at,
            updated_at=campaign.updated_at,
            version=campaign.version,
            stats=CampaignStatsSummary(
                recipients=stats.recipients,
                delivered=stats.delivered,
                failed=stats.failed,
                unconfirmed=stats.unconfirmed,
                opens=stats.opens,
                open_rate=stats.open_rate,
            ),
        )


READ_ONLY = frozenset(to_camel(name) for name in CampaignResponse.model_fields.keys() - NewCampaign.model_fields.keys())
"""Fields of a campaign that a request cannot set, as requests would call them."""


class CampaignPage(_Answer):
    items: list[CampaignResponse]
    next_cursor: str | None


class Expanding(_Answer):
    fetched: Annotated[Count, Field(description="How many contacts have been read so far.")]


class ProgressResponse(_Answer):
    """recipients = queued + sending + deferred + delivered + failed + skipped + unconfirmed, always."""

    status: CampaignStatus
    recipients: Count
    queued: Count
    sending: Count
    deferred: Count
    delivered: Count
    failed: Count
    skipped: Count
    unconfirmed: Count
    opens: Count
    open_rate: OpenRate
    machine_opens: MachineOpens
    human_open_rate: HumanOpenRate
    clicks: Clicks
    unsubscribes: Annotated[Count, Field(description="Sends whose unsubscribe link was followed.")]
    hard_bounces: Annotated[Count, Field(description="Of `failed`: a report said that the address takes no mail.")]
    soft_bounces: Annotated[Count, Field(description="Of `failed`: a report said that it could not be delivered now.")]
    expanding: Annotated[Expanding | None, Field(description="Only there while the list is being made.")] = None

    @classmethod
    def of(cls, progress: StatsSnapshot) -> Self:
        stats, fetched = progress.stats, progress.contacts_fetched
        return cls(
            status=progress.status,
            recipients=stats.recipients,
            queued=stats.queued,
            sending=stats.sending,
            deferred=stats.deferred,
            delivered=stats.delivered,
            failed=stats.failed,
            skipped=stats.skipped,
            unconfirmed=stats.unconfirmed,
            opens=stats.opens,
            open_rate=stats.open_rate,
            machine_opens=stats.machine_opens,
            human_open_rate=stats.human_open_rate,
            clicks=stats.clicks,
            unsubscribes=stats.unsubscribes,
            hard_bounces=stats.hard_bounces,
            soft_bounces=stats.soft_bounces,
            expanding=None if fetched is None else Expanding(fetched=fetched),
        )


class OverviewResponse(_Answer):
    total: Count
    draft: Count
    sending: Count
    sent: Count
    failed: Count
    average_open_rate: OpenRate

    @classmethod
    def of(cls, overview: Overview) -> Self:
        return cls(
            total=overview.total,
            draft=overview.draft,
            sending=overview.sending,
            sent=overview.sent,
            failed=overview.failed,
            average_open_rate=overview.average_open_rate,
        )


class PreviewResponse(_Answer):
    subject: str
    html: str
    text: str

    @classmethod
    def of(cls, preview: Preview) -> Self:
        return cls(subject=preview.subject, html=preview.html, text=preview.text)


class SendErrorResponse(_Answer):
    """The last thing said against the send; `smtpCode` and `enhancedCode` are the relay's."""

    smtp_code: int | None
    enhanced_code: str | None
    message: str | None


class LogEntryResponse(_Answer):
    """One send: the row of one contact of one campaign."""

    id: UUID
    contact_id: str
    email: str
    status: SendStatus
    reason: str | None
    attempts: Count
    error: SendErrorResponse | None
    queued_at: datetime
    sent_at: datetime | None
    opened_at: datetime | None
    last_opened_at: datetime | None
    open_count: Count
    unsubscribed_at: datetime | None

    @classmethod
    def of(cls, entry: LogEntry) -> Self:
        error = entry.error
        return cls(
            id=entry.id,
            contact_id=entry.contact_id,
            email=entry.email,
            status=entry.status,
            reason=entry.reason,
            attempts=entry.attempts,
            error=error
            and SendErrorResponse(smtp_code=error.smtp_code, enhanced_code=error.enhanced_code, message=error.message),
            queued_at=entry.queued_at,
            sent_at=entry.sent_at,
            opened_at=entry.opened_at,
            last_opened_at=entry.last_opened_at,
            open_count=entry.open_count,
            unsubscribed_at=entry.unsubscribed_at,
        )


class LogPage(_Answer):
    items: list[LogEntryResponse]
    next_cursor: str | None


class ContactStatusResponse(_Answer):
    value: str
    label: str


class ContactStatuses(_Answer):
    items: list[ContactStatusResponse]


class FindingResponse(_Answer):
    """An error keeps the campaign from being launched, unless the launch says `force`."""

    code: Annotated[str, Field(examples=["MISSING_VALUE"])]
    severity: Severity
    message: str
    place: Annotated[str, Field(description="A field of the campaign, a placeholder, or a part of the whole.")]
    line: Annotated[int | None, Field(ge=1, description="The first line of it.")]
    count: Annotated[Count | None, Field(description="How many contacts, or places, it is about.")]


class ReportResponse(_Answer):
    """What a launch would have come to. Each contact is counted once."""

    recipients: Annotated[Count, Field(description="Who would get it.")]
    opted_out: Count
    without_address: Count
    malformed: Annotated[Count, Field(description="With an address no mail can go to.")]
    suppressed: Annotated[Count, Field(description="On the suppression list.")]
    duplicates: Annotated[Count, Field(description="With the address of another.")]
    estimated_seconds: Annotated[
        float | None,
        Field(ge=0, description="To send it at the speed of the last campaigns of some size; null without any."),
    ]
    findings: Annotated[list[FindingResponse], Field(description="Errors first, then warnings, then notes.")]


class PreflightProgress(_Answer):
    fetched: Annotated[Count, Field(description="How many contacts have been read so far.")]
    expected: Annotated[Count | None, Field(description="Of about so many; null before that is known.")]


class CheckResponse(_Answer):
    """A dry run of a launch, of one version of the campaign."""

    version: Annotated[int, Field(ge=1)]
    stale: Annotated[bool, Field(description="Whether the campaign has another version by now.")]
    status: PreflightStatus
    requested_at: datetime
    finished_at: datetime | None
    progress: PreflightProgress
    failure: Annotated[str | None, Field(description="Why it could not be carried out, where it is FAILED.")]
    report: Annotated[ReportResponse | None, Field(description="There once it is DONE.")]

    @classmethod
    def of(cls, check: Preflight) -> Self:
        return cls(
            version=check.version,
            stale=check.stale,
            status=check.status,
            requested_at=check.requested_at,
            finished_at=check.finished_at,
            progress=PreflightProgress(fetched=check.fetched, expected=check.expected),
            failure=check.failure,
            report=check.report and ReportResponse.model_validate(asdict(check.report)),
        )


class SampleContact(_Answer):
    id: str
    first_name: str | None
    last_name: str | None
    email: str
    status: str | None


class AudienceNowResponse(_Answer):
    """Whom a launch would mail now. The count is the CRM's, less the opt-outs the CRM does not have yet: addresses that
    are suppressed or that no mail can go to, and contacts who share one address, are told apart by a check."""

    count: Count
    sample: Annotated[list[SampleContact], Field(max_length=10)]

    @classmethod
    def of(cls, audience: AudienceCount) -> Self:
        sample = [
            SampleContact(
                id=contact.id,
                first_name=contact.first_name,
                last_name=contact.last_name,
                email=contact.email or "",
                status=contact.status,
            )
            for contact in audience.sample
        ]
        return cls(count=audience.count, sample=sample)


class FieldProblem(_Answer):
    field: Annotated[str, Field(examples=["audience.statuses[0]"])]
    message: str
    code: str


class Problem(_Answer):
    """Problem details (RFC 9457). `type` is stable; docs/problems.md lists every one."""

    type: Annotated[str, Field(examples=["/problems/wrong-state"])]
    title: str
    status: int
    detail: str
    request_id: str
    errors: Annotated[list[FieldProblem], Field(description="The fields at fault; there where there are any.")] = Field(
        default_factory=list
    )


class Health(_Answer):
    status: Literal["ok"]


class Readiness(_Answer):
    ready: bool
    missing: Annotated[list[str], Field(examples=[["postgresql"]])]
