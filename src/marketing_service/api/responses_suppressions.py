"""Response bodies about the suppression list and about submitted reports."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field

from marketing_service.api.responses import Count, ResponseModel
from marketing_service.campaigns.suppression_file import MAX_IN_ROW, MAX_REJECTED, MAX_VALUE, Reason
from marketing_service.reports import Kind
from marketing_service.store.states import SuppressionOrigin, SuppressionReason
from marketing_service.store.suppression_imports import SuppressionImport
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


_SENTENCES = {
    Reason.NO_ADDRESS: "The row has no email address.",
    Reason.INVALID_ADDRESS: "This is not a valid email address, or not a list of valid email addresses.",
    Reason.TOO_MANY_ADDRESSES: f"The row has more than {MAX_IN_ROW} addresses. Put each address in a row of its own.",
}


class RejectedRowResponse(ResponseModel):
    """A row of the file that was not taken."""

    line: Annotated[int, Field(ge=1, description="The number of its first line in the file.")]
    value: Annotated[str, Field(max_length=MAX_VALUE, description="What stands there, cut if it is long.")]
    code: Reason
    message: str


class ImportSummary(ResponseModel):
    """An import of a file, and its progress."""

    id: UUID
    created_by: str
    created_at: datetime
    finished: Annotated[bool, Field(description="False: workers are still adding addresses.")]
    finished_at: datetime | None
    rows: Annotated[Count, Field(description="Rows of the file that are not blank, without its header.")]
    done: Annotated[Count, Field(description="Rows that are done. Their addresses are no longer mailed.")]
    added: Annotated[Count, Field(description="Addresses that were added.")]
    known: Annotated[Count, Field(description="Addresses that were on the list before.")]
    repeated: Annotated[Count, Field(description="Addresses that an earlier row of the file has, too.")]
    rejected_rows: Annotated[Count, Field(description="Rows that were not taken.")]

    @classmethod
    def of(cls, imported: SuppressionImport) -> Self:
        return cls(**_summary(imported))


class ImportResponse(ImportSummary):
    """An import of a file, its progress, and the rows that were not taken."""

    rejected: Annotated[
        list[RejectedRowResponse],
        Field(max_length=MAX_REJECTED, description=f"The first {MAX_REJECTED:,} rows that were not taken."),
    ]

    @classmethod
    def of(cls, imported: SuppressionImport) -> Self:
        rejected = [RejectedRowResponse(**row, message=_SENTENCES[Reason(row["code"])]) for row in imported.rejected]
        return cls(**_summary(imported), rejected=rejected)


class ImportPage(ResponseModel):
    items: list[ImportSummary]
    next_cursor: str | None


def _summary(imported: SuppressionImport) -> dict[str, Any]:
    return {
        "id": imported.id,
        "created_by": imported.created_by,
        "created_at": imported.created_at,
        "finished": imported.finished_at is not None,
        "finished_at": imported.finished_at,
        "rows": imported.rows,
        "done": imported.done,
        "added": imported.added,
        "known": imported.known,
        "repeated": imported.repeated,
        "rejected_rows": imported.rejected_rows,
    }


class SubmittedReportResponse(ResponseModel):
    kind: Annotated[Kind, Field(description="What the message reports.")]
    outcome: Annotated[
        Outcome,
        Field(
            description="What the service did. UNKNOWN: the message does not prove that it is about a send of yours."
        ),
    ]
