"""Request bodies (JSON in camelCase) and query parameters. Unknown fields are refused."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from marketing_service.auth.principal import MAX_SUBJECT_LENGTH
from marketing_service.campaigns.drafts import MAX_NAME, Draft
from marketing_service.campaigns.suppression_file import MAX_NOTE
from marketing_service.campaigns.validation import MAX_BODY_BYTES, MAX_TEST_RECIPIENTS
from marketing_service.errors import FieldError, InvalidInput
from marketing_service.languages import Language
from marketing_service.ports import Audience, AudienceType
from marketing_service.store.audit import Action, AuditFilter
from marketing_service.store.states import CampaignStatus, FailReason, SendStatus, SuppressionReason

MAX_HEADER_TEXT = 200
MAX_SUBJECT = 500
MAX_PREHEADER = 200
MAX_EMAIL = 254
MAX_ID = 64
MAX_PATH = 256
MAX_STATUSES = 50
MAX_TIME_ZONE = 64
DEFAULT_LIMIT = 50
MAX_LIMIT = 200
DEFAULT_BUCKETS = 60
MAX_BUCKETS = 500

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# What validation requires of a line of text. In the schema it helps tools that generate requests from it.
# The noncharacters beyond U+FFFF are missing, because not all tools read them in a pattern.
_NOT_IN_A_LINE = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufdd0-\ufdef\ufeff\ufffe\uffff"
_ONE_LINE = rf"^[^{_NOT_IN_A_LINE}]*[^\s{_NOT_IN_A_LINE}][^{_NOT_IN_A_LINE}]*$"
_NO_CONTROL = r"^[^\x00-\x1f\x7f-\x9f]*$"


def _without_control(value: str) -> str:
    if _CONTROL.search(value):
        raise PydanticCustomError("control-character", "must not contain control characters")
    return value


def _line(max_length: int) -> Any:
    return Field(min_length=1, max_length=max_length, json_schema_extra={"pattern": _ONE_LINE})


Name = Annotated[str, _line(MAX_NAME)]
HeaderText = Annotated[str, _line(MAX_HEADER_TEXT)]
Subject = Annotated[str, _line(MAX_SUBJECT)]
Preheader = Annotated[
    str,
    _line(MAX_PREHEADER),
    Field(description="A Liquid template. Inboxes show the text after the subject, and the message hides it."),
]
Email = Annotated[str, Field(max_length=MAX_EMAIL, json_schema_extra={"format": "email"})]
Body = Annotated[
    str,
    Field(
        max_length=MAX_BODY_BYTES,
        description="A Liquid template, at most 1 MB of UTF-8. A byte order mark (U+FEFF) at its start is removed. If"
        " it contains {{ unsubscribeUrl }}, no unsubscribe link is appended.",
    ),
]
OpaqueId = Annotated[
    str,
    Field(min_length=1, max_length=MAX_ID, json_schema_extra={"pattern": _NO_CONTROL}),
    AfterValidator(_without_control),
]
Prefix = Annotated[
    str, Field(max_length=MAX_EMAIL, json_schema_extra={"pattern": _NO_CONTROL}), AfterValidator(_without_control)
]

Note = Annotated[str, _line(MAX_NOTE), AfterValidator(_without_control)]


_LANGUAGE = "The language of the unsubscribe link that is appended to the message."


class _Request(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class AudienceAll(_Request):
    """All contacts that have an address and have not opted out."""

    type: Literal["ALL"]
    statuses: Annotated[list[str], Field(max_length=0)] = Field(default_factory=list)


class AudienceByStatus(_Request):
    """The contacts with one of these CRM statuses that have an address and have not opted out."""

    type: Literal["BY_STATUS"]
    statuses: Annotated[list[OpaqueId], Field(min_length=1, max_length=MAX_STATUSES, examples=[["CUSTOMER"]])]


TrackClicks = Annotated[
    StrictBool, Field(description="Whether the links of htmlBody lead to this service first, which counts the clicks.")
]
AUDIENCE_TYPES = frozenset(AudienceType)
AudienceBody = Annotated[AudienceAll | AudienceByStatus, Field(discriminator="type")]


def audience_of(body: AudienceAll | AudienceByStatus) -> Audience:
    """The audience. Each status is listed once."""
    return Audience(AudienceType(body.type), tuple(dict.fromkeys(body.statuses)))


_EXAMPLE_MESSAGE: JsonDict = {
    "name": "April newsletter",
    "fromName": "Acme",
    "fromEmail": "news@acme.example",
    "subject": "Hello {{ firstName | default: 'there' }}",
    "htmlBody": "<h1>Hello {{firstName}}</h1><p>News for {{companyName}}.</p>",
    "textBody": "Hello {{firstName}}\n\nNews for {{companyName}}.",
    "audience": {"type": "BY_STATUS", "statuses": ["CUSTOMER"]},
}


class NewCampaign(_Request):
    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE_MESSAGE]})

    name: Annotated[Name, Field(description="A name for your own use. Recipients do not see it.")]
    subject: Annotated[Subject, Field(description="A Liquid template.")]
    from_name: HeaderText | None = None
    from_email: Annotated[
        Email | None, Field(description="Without it, the default address of the installation, if it has one.")
    ] = None
    reply_to: Email | None = None
    html_body: Body | None = None
    text_body: Body | None = None
    audience: Annotated[AudienceBody, Field(description="Without it, all contacts.")] = AudienceAll(type="ALL")
    track_clicks: TrackClicks = False
    language: Annotated[
        Language | None, Field(description=f"{_LANGUAGE} Without it, the default language of the installation.")
    ] = None
    preheader: Preheader | None = None

    def draft(self) -> Draft:
        values = {name: getattr(self, name) for name in type(self).model_fields if name != "audience"}
        return Draft(**values, audience=audience_of(self.audience))


class CampaignChanges(_Request):
    """A field that is left out stays as it is. null clears an optional field. `audience` is replaced as a whole."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"subject": "Hello again", "replyTo": None}]})

    # `model_fields_set` tells a missing field from null, so these defaults are never read.
    name: Name = Field(default_factory=str)
    subject: Subject = Field(default_factory=str)
    from_name: HeaderText | None = None
    from_email: Email = Field(default_factory=str)
    reply_to: Email | None = None
    html_body: Body | None = None
    text_body: Body | None = None
    audience: AudienceBody = Field(default_factory=lambda: AudienceAll(type="ALL"))
    track_clicks: TrackClicks = False
    language: Annotated[Language, Field(description=_LANGUAGE)] = Language.EN
    preheader: Preheader | None = None

    def changes(self) -> dict[str, Any]:
        """The fields that the request contains, as drafts.change takes them."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return given | ({"audience": audience_of(self.audience)} if "audience" in given else {})


class LaunchOptions(_Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"audience": {"type": "ALL"}}]})

    audience: Annotated[
        AudienceBody | None, Field(description="Replaces the audience of the campaign in the same step.")
    ] = None
    force: Annotated[StrictBool, Field(description="Launch the campaign even if its check found errors.")] = False


_SCHEDULED_TIME = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?"
    r"(Z|[+-]([01]\d|2[0-3]):[0-5]\d)?",
    re.ASCII,
)


def _scheduled_time(value: object) -> datetime:
    try:
        if isinstance(value, str) and _SCHEDULED_TIME.fullmatch(value):
            return datetime.fromisoformat(value)
    except ValueError:
        pass  # such as the 30th of February
    raise PydanticCustomError(
        "datetime_parsing", "must be a time such as 2026-12-01T09:00:00+01:00, or 2026-12-01T09:00:00 with a timeZone"
    )


class NewSchedule(_Request):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"at": "2026-12-01T09:00:00+01:00"},
                {"at": "2026-12-01T09:00:00", "timeZone": "Europe/London"},
            ]
        }
    )

    at: Annotated[
        datetime,
        PlainValidator(_scheduled_time),
        WithJsonSchema({"type": "string", "pattern": f"^{_SCHEDULED_TIME.pattern}$"}),
        Field(
            description="A time in the future, at most a year ahead: with its offset from UTC, or the local time of"
            " timeZone. If the clocks show a local time twice, the first one is meant."
        ),
    ]
    time_zone: Annotated[
        str | None,
        Field(
            max_length=MAX_TIME_ZONE,
            description="The name of the time zone (IANA), if `at` has no offset.",
            examples=["Europe/London"],
        ),
    ] = None


class NewResend(_Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"status": ["FAILED"], "reason": ["REJECTED"]}]})

    status: Annotated[
        list[Literal[SendStatus.FAILED, SendStatus.UNCONFIRMED]],
        Field(min_length=1, max_length=MAX_STATUSES, description="The sends that are in one of these states."),
    ]
    reason: Annotated[
        list[FailReason],
        Field(
            max_length=MAX_STATUSES,
            description="Only those that failed for one of these reasons. Without it, for any reason, or for none.",
        ),
    ] = Field(default_factory=list)


class TestRecipients(_Request):
    __test__ = False  # tells pytest that this is not a test class
    model_config = ConfigDict(json_schema_extra={"examples": [{"to": ["you@example.com"]}]})

    to: Annotated[list[Email], Field(min_length=1, max_length=MAX_TEST_RECIPIENTS)]


class NewSuppression(_Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"email": "ann@example.com", "note": "by phone"}]})

    email: Email
    note: Annotated[Note | None, Field(description="A note for your own use.")] = None


class ReportQuery(_Request):
    recipient: Annotated[
        str | None,
        Field(max_length=MAX_PATH, description="The recipient of the report's envelope (RFC 5321 §4.1.1.3)."),
    ] = None


class UnsavedMessage(_Request):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{name: _EXAMPLE_MESSAGE[name] for name in ("subject", "htmlBody")}]}
    )

    subject: Annotated[Subject | None, Field(description="A Liquid template.")] = None
    html_body: Body | None = None
    text_body: Body | None = None
    language: Annotated[
        Language | None, Field(description=f"{_LANGUAGE} Without it, the default language of the installation.")
    ] = None
    preheader: Preheader | None = None
    contact_id: Annotated[
        OpaqueId | None, Field(description="The contact to fill the message in for. Without it, a sample recipient.")
    ] = None


class _PageQuery(_Request):
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="The maximum number of items.")] = DEFAULT_LIMIT
    cursor: Annotated[
        str | None,
        Field(max_length=2000, description="`nextCursor` of the previous page. Leave it out for the first page."),
    ] = None


_ANY_OF = "Only items with one of these values. Repeat the parameter for several values."
_STARTS_WITH = (
    "Only addresses that start with this text. Case is ignored, and a domain is found by its U-labels and its A-labels."
)


class CampaignQuery(_PageQuery):
    status: Annotated[list[CampaignStatus], Field(description=_ANY_OF)] = Field(default_factory=list)
    q: Annotated[Prefix | None, Field(description="Only names that start with this text. Case is ignored.")] = None


class LogFilterQuery(_Request):
    status: Annotated[list[SendStatus], Field(description=_ANY_OF)] = Field(default_factory=list)
    q: Annotated[Prefix | None, Field(description=_STARTS_WITH)] = None


class LogQuery(LogFilterQuery, _PageQuery):
    pass


class ExportQuery(LogFilterQuery):
    after: Annotated[
        UUID | None, Field(description="The id of a send: only the rows after it, without the header.")
    ] = None


class SuppressionFilterQuery(_Request):
    reason: Annotated[list[SuppressionReason], Field(description=_ANY_OF)] = Field(default_factory=list)
    q: Annotated[Prefix | None, Field(description=_STARTS_WITH)] = None


class SuppressionQuery(SuppressionFilterQuery, _PageQuery):
    pass


class ImportQuery(_PageQuery):
    pass


_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}", re.ASCII)


def _written_time(value: object) -> object:
    """Without this, pydantic would also read a number as seconds since 1970."""
    if not isinstance(value, str) or not _TIME.match(value):
        raise PydanticCustomError(
            "datetime_parsing", "must be a time with its offset, such as 2026-12-01T09:00:00Z (a + is written %2B)"
        )
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_written_time, json_schema_input_type=AwareDatetime)]


class AuditQuery(_PageQuery):
    actor: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=MAX_SUBJECT_LENGTH,
            description="Only what this actor did: the `sub` of an access token, or `system`.",
            json_schema_extra={"pattern": _NO_CONTROL},
        ),
        AfterValidator(_without_control),
    ] = None
    action: Annotated[list[Action], Field(description=_ANY_OF)] = Field(default_factory=list)
    campaign_id: Annotated[
        UUID | None, Field(description="Only what was done to this campaign. It may be deleted by now.")
    ] = None
    since: Annotated[
        Time | None, Field(description="Only what was done at this time or later, with its offset from UTC.")
    ] = None

    def filter(self) -> AuditFilter:
        return AuditFilter(self.actor, tuple(self.action), self.campaign_id, self.since)


class PreviewQuery(_Request):
    contact_id: Annotated[
        OpaqueId | None, Field(description="The contact to fill the message in for. Without it, a sample recipient.")
    ] = None


class TimelineQuery(_Request):
    buckets: Annotated[int, Field(ge=1, le=MAX_BUCKETS, description="The maximum number of buckets.")] = DEFAULT_BUCKETS


class AudienceQuery(_Request):
    type: Annotated[AudienceType, Field(description="Without it, all contacts.")] = AudienceType.ALL
    statuses: Annotated[
        list[OpaqueId],
        Field(
            max_length=MAX_STATUSES,
            description="The CRM statuses, for BY_STATUS. Repeat the parameter for several.",
            examples=[["CUSTOMER"]],
        ),
    ] = Field(default_factory=list)

    def audience(self) -> Audience:
        """The audience that the query describes. Raises InvalidInput."""
        if self.type is AudienceType.ALL and self.statuses:
            raise InvalidInput(FieldError("statuses", "must be left out if type is ALL.", "too-long"))
        if self.type is AudienceType.BY_STATUS and not self.statuses:
            raise InvalidInput(FieldError("statuses", "must name at least one status.", "too-short"))
        return Audience(self.type, tuple(dict.fromkeys(self.statuses)))
