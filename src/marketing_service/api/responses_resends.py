"""Response bodies about bulk resends."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import Field

from marketing_service.api.responses import Count, ResponseModel
from marketing_service.store.resends import BulkResend
from marketing_service.store.states import ResendRefusal


class AcceptedResendResponse(ResponseModel):
    id: UUID
    matching: Annotated[Count, Field(description="The number of sends that match now.")]

    @classmethod
    def of(cls, resend: BulkResend) -> Self:
        return cls(id=resend.id, matching=resend.matching)


class ResendResponse(ResponseModel):
    """When it is `done`: matching = accepted + the sum of refused."""

    matching: Annotated[
        Count, Field(description="The number of sends that matched. It grows if more sends match until it is done.")
    ]
    accepted: Annotated[Count, Field(description="The sends that are queued again.")]
    refused: Annotated[
        dict[ResendRefusal, Count],
        Field(
            description="The sends that are not, by reason. `CHANGED`: since the request. `CANCELLED`: the campaign"
            " was, after the request.",
            examples=[{"OPTED_OUT": 3}],
        ),
    ]
    done: bool

    @classmethod
    def of(cls, resend: BulkResend) -> Self:
        return cls(
            matching=resend.matching,
            accepted=resend.accepted,
            refused={ResendRefusal(reason): count for reason, count in resend.refused.items()},
            done=resend.finished_at is not None,
        )
