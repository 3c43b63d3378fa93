"""Response bodies about the audit trail."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field

from marketing_service.api.responses import ResponseModel
from marketing_service.store.audit import AuditEntry


class AuditEntryResponse(ResponseModel):
    """One act."""

    id: UUID
    at: datetime
    actor: Annotated[str, Field(description="The `sub` of the access token; `system`: the service itself.")]
    action: Annotated[str, Field(description="What was done, for example `launched`. Later versions may have more.")]
    campaign_id: UUID | None
    details: Annotated[
        dict[str, Any], Field(description="What belongs to the action. No recipient's address, and no body.")
    ]

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        return cls(
            id=entry.id,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            campaign_id=entry.campaign_id,
            details=dict(entry.details),
        )


class AuditPage(ResponseModel):
    items: list[AuditEntryResponse]
    next_cursor: str | None
