"""Response bodies about the suppression list and about submitted reports."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field

from marketing_service.api.responses import Count, ResponseModel
from marketing_service.campaigns.suppression_list import MAX_MALFORMED, Imported
from marketing_service.reports import Kind
from marketing_service.store.states import SuppressionOrigin, SuppressionReason
from marketing_service.store.suppressions import Suppression
from marketing_service.tracking import Outcome


class SuppressionResponse(ResponseModel):
    """An address that is never mailed."""

    id: UUID
    email: Annotated[str, Field(description="In lower case, its domain in A-labels. Stands for all its spellings.")]
    reason: SuppressionReason
    origin: SuppressionOrigin
    campaign_id: Annotated[UUID | None, Field(description="The campaign whose send bounced; null for other reasons.")]
    note: str | None
    created_by: str | None
    created_at: datetime

    @classmethod
    def of(cls, suppression: Suppression) -> Self:
        return cls(
            id=suppression.id,
            email=suppression.address,
            reason=suppression.reason,
            origin=suppression.origin,
            campaign_id=suppression.campaign_id,
            note=suppression.note,
            created_by=suppression.created_by,
            created_at=suppression.created_at,
        )


class SuppressionPage(ResponseModel):
    items: list[SuppressionResponse]
    next_cursor: str | None


class MalformedLineResponse(ResponseModel):
    line: Annotated[int, Field(ge=1)]
    value: str


class ImportResponse(ResponseModel):
    added: Annotated[Count, Field(description="The number of addresses that were added.")]
    known: Annotated[Count, Field(description="The number of addresses that were on the list before.")]
    malformed: Annotated[
        list[MalformedLineResponse],
        Field(max_length=MAX_MALFORMED, description="The first 1,000 values that are not valid email addresses."),
    ]

    @classmethod
    def of(cls, imported: Imported) -> Self:
        malformed = [MalformedLineResponse(line=place.line, value=place.value) for place in imported.malformed]
        return cls(added=imported.added, known=imported.known, malformed=malformed)


class SubmittedReportResponse(ResponseModel):
    kind: Annotated[Kind, Field(description="What the message reports.")]
    outcome: Annotated[
        Outcome,
        Field(
            description="What the service did. UNKNOWN: the message does not prove that it is about a send of yours."
        ),
    ]
