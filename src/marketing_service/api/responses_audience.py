"""Response bodies about contacts of the CRM: their statuses, and the size of an audience."""

from typing import Annotated, Self

from pydantic import Field

from marketing_service.api.responses import Count, ResponseModel
from marketing_service.preflight import AudienceCount


class ContactStatusResponse(ResponseModel):
    value: str
    label: str


class ContactStatusesResponse(ResponseModel):
    items: list[ContactStatusResponse]


class SampleContactResponse(ResponseModel):
    id: str
    first_name: str | None
    last_name: str | None
    email: str
    status: str | None


class AudienceCountResponse(ResponseModel):
    """The contacts that a launch would mail now: the number from the CRM, minus the opt-outs that the CRM does not have
    yet. Suppressed, malformed and duplicate addresses are included; the check of a campaign finds those."""

    count: Count
    sample: Annotated[list[SampleContactResponse], Field(max_length=10)]

    @classmethod
    def of(cls, audience: AudienceCount) -> Self:
        sample = [
            SampleContactResponse(
                id=contact.id,
                first_name=contact.first_name,
                last_name=contact.last_name,
                email=contact.email or "",
                status=contact.status,
            )
            for contact in audience.sample
        ]
        return cls(count=audience.count, sample=sample)
