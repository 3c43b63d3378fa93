"""Response bodies about the engagement with a campaign: clicks by link, and numbers over time."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field

from marketing_service.api.responses import Count, ResponseModel
from marketing_service.campaigns.engagement import BUCKET_SECONDS, Timeline
from marketing_service.rendering import MAX_LINKS, shown_link
from marketing_service.store.clicks import LinkStats
from marketing_service.store.reasons import ReasonCount
from marketing_service.store.states import SendStatus


class LinkResponse(ResponseModel):
    """One link of htmlBody. Clicks of machines (scanners, mail gateways) are counted separately."""

    number: Annotated[int, Field(ge=1)]
    url: Annotated[str, Field(description="The link as it is in htmlBody, with its placeholders.")]
    clicks: Annotated[Count, Field(description="The number of sends with a click on this link.")]
    total_clicks: Annotated[Count, Field(description="The number of clicks on this link.")]
    machine_clicks: Count

    @classmethod
    def of(cls, link: LinkStats) -> Self:
        return cls(
            number=link.number,
            url=shown_link(link.url),
            clicks=link.clicks,
            total_clicks=link.total_clicks,
            machine_clicks=link.machine_clicks,
        )


class LinksResponse(ResponseModel):
    items: Annotated[list[LinkResponse], Field(max_length=MAX_LINKS)]


class BucketResponse(ResponseModel):
    """The numbers of one bucket, which starts at `at`."""

    at: datetime
    delivered: Annotated[Count, Field(description="Includes deliveries that a later bounce corrected.")]
    opens: Count
    clicks: Count
    unsubscribes: Count


class TimelineResponse(ResponseModel):
    """Each send is counted at its first delivery, open, click and opt-out."""

    from_: Annotated[
        datetime | None, Field(alias="from", description="The minute of the launch; null before the launch.")
    ]
    bucket_seconds: Annotated[int, Field(json_schema_extra={"enum": list(BUCKET_SECONDS)})]
    items: Annotated[list[BucketResponse], Field(description="All buckets up to the last event, without gaps.")]

    @classmethod
    def of(cls, timeline: Timeline) -> Self:
        items = [
            BucketResponse(
                at=at,
                delivered=happened.delivered,
                opens=happened.opens,
                clicks=happened.clicks,
                unsubscribes=happened.unsubscribes,
            )
            for at, happened in timeline.buckets
        ]
        return cls(from_=timeline.start, bucket_seconds=timeline.bucket_seconds, items=items)


class ReasonResponse(ResponseModel):
    """How many sends are in a state for one reason. The codes are those of the last reply of the relay, or of the
    report; a deferred send has only these."""

    status: Literal[SendStatus.DEFERRED, SendStatus.FAILED, SendStatus.SKIPPED]
    reason: str | None
    smtp_code: int | None
    enhanced_code: str | None
    sends: Annotated[int, Field(ge=1)]

    @classmethod
    def of(cls, reason: ReasonCount) -> Self:
        return cls(
            status=reason.status,
            reason=reason.reason,
            smtp_code=reason.smtp_code,
            enhanced_code=reason.enhanced_code,
            sends=reason.sends,
        )


class ReasonsResponse(ResponseModel):
    items: list[ReasonResponse]
