"""Response bodies of the preflight: the check before a launch."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from marketing_service.api.responses import Count, ResponseModel
from marketing_service.rendering import Severity
from marketing_service.store.preflights import Preflight, PreflightReport, PreflightStatus


class FindingResponse(ResponseModel):
    """One finding. An error blocks the launch, unless the launch request has `force`."""

    code: Annotated[str, Field(examples=["MISSING_VALUE"])]
    severity: Severity
    message: str
    place: Annotated[str, Field(description="The field, placeholder or other part that the finding is about.")]
    line: Annotated[int | None, Field(ge=1, description="The first line of the field that it is about.")]
    count: Annotated[Count | None, Field(description="The number of contacts, or of places in the text.")]


class PreflightReportResponse(ResponseModel):
    """What a launch would do. Each contact is counted once."""

    recipients: Annotated[Count, Field(description="Contacts that would get the message.")]
    opted_out: Count
    without_address: Count
    malformed: Annotated[Count, Field(description="Contacts whose address cannot receive mail.")]
    suppressed: Annotated[Count, Field(description="Contacts whose address is on the suppression list.")]
    duplicates: Annotated[Count, Field(description="Contacts with the same address as another contact.")]
    estimated_seconds: Annotated[
        float | None,
        Field(
            ge=0,
            description="Estimated time to send, at the speed of the last large campaigns; null if there are none.",
        ),
    ]
    largest_octets: Annotated[
        Count | None,
        Field(description="The size of the largest message that was rendered, in octets; null in older reports."),
    ]
    findings: Annotated[list[FindingResponse], Field(description="Errors, then warnings, then notes.")]

    @classmethod
    def of(cls, report: PreflightReport) -> Self:
        shown = asdict(report)
        del shown["eight_bit"]
        return cls.model_validate(shown)


class PreflightProgressResponse(ResponseModel):
    fetched: Annotated[Count, Field(description="The number of contacts read so far.")]
    expected: Annotated[Count | None, Field(description="The approximate total; null until it is known.")]


class PreflightResponse(ResponseModel):
    """The check (a dry run of a launch) of one version of the campaign."""

    version: Annotated[int, Field(ge=1)]
    stale: Annotated[bool, Field(description="Whether the campaign was changed after the check.")]
    status: PreflightStatus
    requested_at: datetime
    finished_at: datetime | None
    progress: PreflightProgressResponse
    failure: Annotated[str | None, Field(description="Why the check could not finish, if it is FAILED.")]
    report: Annotated[PreflightReportResponse | None, Field(description="Present when the check is DONE.")]

    @classmethod
    def of(cls, preflight: Preflight) -> Self:
        return cls(
            version=preflight.version,
            stale=preflight.stale,
            status=preflight.status,
            requested_at=preflight.requested_at,
            finished_at=preflight.finished_at,
            progress=PreflightProgressResponse(fetched=preflight.fetched, expected=preflight.expected),
            failure=preflight.failure,
            report=preflight.report and PreflightReportResponse.of(preflight.report),
        )
