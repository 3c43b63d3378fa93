"""The data of the events of a campaign's live progress."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from marketing_service.api.responses import CampaignStatsResponse, ResponseModel
from marketing_service.campaigns.progress import RATE_SECONDS, STALL_SECONDS, Progress
from marketing_service.store.states import CampaignStatus


class ProgressResponse(CampaignStatsResponse):
    """The data of the event `stats`: the stats of the campaign, and what the last seconds tell."""

    rate_per_second: Annotated[
        float | None,
        Field(
            ge=0,
            description=f"Sends with an outcome (DELIVERED, FAILED, UNCONFIRMED) per second, over the last"
            f" {RATE_SECONDS:g} seconds. Only present once it is known.",
        ),
    ] = None
    seconds_left: Annotated[
        int | None,
        Field(
            ge=0,
            description="At this rate, the time until each queued send has had its try. The further tries of DEFERRED"
            " sends are not included. Only present while messages are sent.",
        ),
    ] = None
    stalled_since: Annotated[
        datetime | None,
        Field(
            description=f"The time of the last outcome. Only present if sends wait, the campaign is not paused, and"
            f" there was no outcome for {STALL_SECONDS:g} seconds."
        ),
    ] = None

    @classmethod
    def of_progress(cls, progress: Progress) -> Self:
        rate = progress.rate_per_second
        return cls.of(progress.snapshot).model_copy(
            update={
                "rate_per_second": None if rate is None else round(rate, 1),
                "seconds_left": progress.seconds_left,
                "stalled_since": progress.stalled_since,
            }
        )


class DoneResponse(ResponseModel):
    """The data of the event `done`, which is the last one: the campaign is SENT or FAILED."""

    status: CampaignStatus
