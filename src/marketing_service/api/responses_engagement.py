"""What callers get of what came back for a campaign: by link, and over time."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, Field

from marketing_service.api.responses import ANSWER, Count
from marketing_service.campaigns.engagement import BUCKET_SECONDS, Timeline
from marketing_service.rendering import MAX_LINKS, shown_link
from marketing_service.store.clicks import LinkStats


class _Answer(BaseModel):
    model_config = ANSWER


class LinkResponse(_Answer):
    """A link of the HTML. A machine's clicks (a scanner's, a mail gateway's) are counted apart."""

    number: Annotated[int, Field(ge=1)]
    url: Annotated[str, Field(description="As it is written, with its placeholders.")]
    clicks: Annotated[Count, Field(description="Sends of which it was followed.")]
    total_clicks: Annotated[Count, Field(description="How often it was followed.")]
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


class LinksResponse(_Answer):
    items: Annotated[list[LinkResponse], Field(max_length=MAX_LINKS)]


class BucketResponse(_Answer):
    """What happened in one stretch of time, of its length from `at` on."""

    at: datetime
    delivered: Annotated[Count, Field(description="OnResult what a bounce has corrected since.")]
    opens: Count
    clicks: Count
    unsubscribes: Count


class TimelineResponse(_Answer):
    """Each send is counted when it was first delivered, opened, clicked or opted out with."""

    from_: Annotated[datetime | None, Field(alias="from", description="The minute of the launch; null before it.")]
    bucket_seconds: Annotated[int, Field(json_schema_extra={"enum": list(BUCKET_SECONDS)})]
    items: Annotated[list[BucketResponse], Field(description="Without a gap, up to the last thing that happened.")]

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
