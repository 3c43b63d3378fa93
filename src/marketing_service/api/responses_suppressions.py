"""What callers get of the suppression list, and for what they hand over."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, Field

from marketing_service.api.responses import ANSWER, Count
from marketing_service.campaigns.suppression_list import MAX_MALFORMED, Imported
from marketing_service.reports import Kind
from marketing_service.store.states import SuppressionOrigin, SuppressionReason
from marketing_service.store.suppressions import Suppression
from marketing_service.tracking import Outcome


class _Answer(BaseModel):
    model_config = ANSWER


class SuppressionResponse(_Answer):
    """An address that is not to be mailed."""

    id: UUID
    email: str
    reason: SuppressionReason
    origin: SuppressionOrigin
    campaign_id: Annotated[UUID | None, Field(description="Of which a send bounced.")]
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


class SuppressionPage(_Answer):
    items: list[SuppressionResponse]
    next_cursor: str | None


class MalformedResponse(_Answer):
    line: Annotated[int, Field(ge=1)]
    value: str


class ImportResponse(_Answer):
    added: Annotated[Count, Field(description="Addresses that are new on the list.")]
    known: Annotated[Count, Field(description="Addresses that were there already.")]
    malformed: Annotated[
        list[MalformedResponse],
        Field(max_length=MAX_MALFORMED, description="What is no address that mail could go to; the first thousand."),
    ]

    @classmethod
    def of(cls, imported: Imported) -> Self:
        malformed = [MalformedResponse(line=place.line, value=place.value) for place in imported.malformed]
        return cls(added=imported.added, known=imported.known, malformed=malformed)


class HandledResponse(_Answer):
    kind: Annotated[Kind, Field(description="What the message says.")]
    outcome: Annotated[Outcome, Field(description="What came of it; UNKNOWN where it proves no send of yours.")]
