"""Response bodies: JSON in camelCase, times in ISO 8601 UTC. See also responses_*.py."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from marketing_service.api.requests import NewCampaign
from marketing_service.languages import Language
from marketing_service.ports import AudienceType
from marketing_service.rendering import Preview
from marketing_service.store.campaigns import Campaign, Overview, StatsSnapshot
from marketing_service.store.email_log import LogEntry
from marketing_service.store.states import CampaignStatus, ScheduleProblem, SendStatus, SkipReason


class ResponseModel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, validate_by_name=True)


OpenRate = Annotated[
    float, Field(ge=0, le=1, description="Opened DELIVERED sends ÷ DELIVERED sends; 0 if none is DELIVERED.")
]
HumanOpenRate = Annotated[
    float, Field(ge=0, le=1, description="As openRate, without the sends that probably only a machine opened.")
]
Count = Annotated[int, Field(ge=0)]
MachineOpens = Annotated[
    int, Field(ge=0, description="Of the opens: those where every load probably came from a machine.")
]
Clicks = Annotated[int, Field(ge=0, description="Sends with a click that was probably not made by a machine.")]


class AudienceResponse(ResponseModel):
    type: AudienceType
    statuses: list[str]


class FailureResponse(ResponseModel):
    """The reason why the launch failed."""

    code: str
    message: str


class ScheduleProblemResponse(ResponseModel):
    """The reason why the scheduled launch did not happen. The campaign is still a DRAFT."""

    code: ScheduleProblem
    message: str


class CampaignStatsSummary(ResponseModel):
    recipients: Count
    delivered: Count
    failed: Count
    unconfirmed: Count
    opens: Count
    open_rate: OpenRate


class CampaignResponse(ResponseModel):
    """One message for one audience. It is sent once."""

    id: UUID
    name: str
    from_name: str | None
    from_email: str
    reply_to: str | None
    subject: str
    preheader: str | None
    html_body: str | None
    text_body: str | None
    audience: AudienceResponse
    track_clicks: bool
    language: Language
    status: CampaignStatus
    failure_reason: FailureResponse | None
    scheduled_at: Annotated[
        datetime | None,
        Field(description="When the draft is launched by itself. After a launch: the schedule that launched it."),
    ]
    scheduled_time_zone: Annotated[
        str | None, Field(description="The time zone in which the time was written; null if it had an offset.")
    ]
    schedule_problem: Annotated[
        ScheduleProblemResponse | None,
        Field(description="Why the last scheduled launch did not happen. A new schedule or a launch removes it."),
    ]
    launched_at: datetime | None
    expanded_at: Annotated[datetime | None, Field(description="When the recipient list was complete.")]
    sent_at: datetime | None
    paused_at: datetime | None
    pause_reason: str | None
    pause_message: Annotated[
        str | None, Field(description="The relay's own words, if a reply of the relay caused the pause.")
    ]
    cancelled_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    version: Annotated[int, Field(ge=1, description="The version. The ETag contains it.")]
    stats: CampaignStatsSummary

    @classmethod
    def of(cls, campaign: Campaign) -> Self:
        content, stats, failure = campaign.content, campaign.stats, campaign.failure
        schedule, problem = campaign.schedule, campaign.schedule_problem
        return cls(
            id=campaign.id,
            name=content.name,
            from_name=content.from_name,
            from_email=content.from_email,
            reply_to=content.reply_to,
            subject=content.subject,
            preheader=content.preheader,
            html_body=content.html_body,
            text_body=content.text_body,
            audience=AudienceResponse(type=content.audience.type, statuses=list(content.audience.statuses)),
            track_clicks=content.track_clicks,
            language=content.language,
            status=campaign.status,
            failure_reason=failure and FailureResponse(code=failure.code, message=failure.message),
            scheduled_at=schedule and schedule.at,
            scheduled_time_zone=schedule and schedule.time_zone,
            schedule_problem=problem
            and ScheduleProblemResponse(code=ScheduleProblem(problem.code), message=problem.message),
            launched_at=campaign.launched_at,
            expanded_at=campaign.expanded_at,
            sent_at=campaign.sent_at,
            paused_at=campaign.paused_at,
            pause_reason=campaign.pause_reason,
            pause_message=campaign.pause_message,
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
"""The fields of a campaign that a request cannot set, by their JSON names."""


class CampaignPage(ResponseModel):
    items: list[CampaignResponse]
    next_cursor: str | None


class ExpansionResponse(ResponseModel):
    fetched: Annotated[Count, Field(description="The number of contacts read so far.")]


class ThrottleResponse(ResponseModel):
    """What the relay's replies have reduced the sending to, for one worker process."""

    connections: Annotated[int, Field(ge=1, description="Connections that the relay allows now.")]
    messages_per_second: Annotated[
        float | None, Field(description="The rate that the relay allows now; null if only the connections are limited.")
    ]


class CampaignStatsResponse(ResponseModel):
    """Always: recipients = queued + sending + deferred + delivered + failed + skipped + unconfirmed."""

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
    unsubscribes: Annotated[Count, Field(description="Sends whose unsubscribe link was used.")]
    hard_bounces: Annotated[Count, Field(description="Of `failed`: a report says that the address accepts no mail.")]
    soft_bounces: Annotated[
        Count, Field(description="Of `failed`: a report says that delivery was not possible at that time.")
    ]
    expanding: Annotated[
        ExpansionResponse | None, Field(description="Only present while the recipient list is being made.")
    ] = None
    throttled_to: Annotated[
        ThrottleResponse | None,
        Field(description="Only present while the relay accepts less than configured. It recovers by itself."),
    ] = None

    @classmethod
    def of(cls, campaign: StatsSnapshot) -> Self:
        stats, fetched, throttle = campaign.stats, campaign.contacts_fetched, campaign.throttle
        return cls(
            status=campaign.status,
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
            expanding=None if fetched is None else ExpansionResponse(fetched=fetched),
            throttled_to=throttle
            and ThrottleResponse(connections=throttle.connections, messages_per_second=throttle.messages_per_second),
        )


class OverviewResponse(ResponseModel):
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


class PreviewResponse(ResponseModel):
    subject: str
    html: str
    text: str

    @classmethod
    def of(cls, preview: Preview) -> Self:
        return cls(subject=preview.subject, html=preview.html, text=preview.text)


class SendErrorResponse(ResponseModel):
    """The last error of the send. `smtpCode` and `enhancedCode` are from the reply of the relay."""

    smtp_code: int | None
    enhanced_code: str | None
    message: str | None


class LogEntryResponse(ResponseModel):
    """One send: one contact of one campaign."""

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


class LogPage(ResponseModel):
    items: list[LogEntryResponse]
    next_cursor: str | None


class LeftOutResponse(ResponseModel):
    email: str
    reason: Annotated[SkipReason, Field(description="`OPTED_OUT`, or `SUPPRESSED` for the suppression list.")]


class TestMailResponse(ResponseModel):
    """The addresses that the test mail is sent to, and those that are left out."""

    __test__ = False  # tells pytest that this is not a test class

    sent: Annotated[list[str], Field(description="The addresses that a worker sends the test mail to.")]
    left_out: list[LeftOutResponse]

    @classmethod
    def of(cls, recipients: Sequence[str], left_out: Mapping[str, SkipReason]) -> Self:
        entries = [LeftOutResponse(email=email, reason=reason) for email, reason in left_out.items()]
        return cls(sent=list(recipients), left_out=entries)


class FieldProblem(ResponseModel):
    field: Annotated[str, Field(examples=["audience.statuses[0]"])]
    message: str
    code: str


class Problem(ResponseModel):
    """Problem details (RFC 9457). `type` is stable; docs/problems.md describes every type."""

    type: Annotated[str, Field(examples=["/problems/wrong-state"])]
    title: str
    status: int
    detail: str
    request_id: str
    errors: Annotated[list[FieldProblem], Field(description="The wrong fields. Left out if no field is wrong.")] = (
        Field(default_factory=list)
    )


class Health(ResponseModel):
    status: Literal["ok"]


class Readiness(ResponseModel):
    ready: bool
    missing: Annotated[list[str], Field(examples=[["postgresql"]])]
    causes: Annotated[
        dict[str, str],
        Field(
            description="Why each of them cannot be used.",
            examples=[
                {"postgresql": "PostgreSQL does not answer; try again in a few seconds. (ConnectionRefusedError)"}
            ],
        ),
    ]
