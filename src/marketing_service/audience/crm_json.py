"""Parsing of the CRM's JSON (`openapi/crm.yaml`).

JSON that does not match the contract raises AudienceUnavailable, because a truncated response or a proxy's error page
is usually gone at the next try. Unknown members are ignored.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from marketing_service.audience.crm_path import is_one_segment
from marketing_service.audience.limits import MAX_ID_LENGTH, MAX_STATUSES
from marketing_service.ports import AudienceRefused, AudienceUnavailable, Contact, ContactStatus
from marketing_service.storable_text import is_storable, storable

MAX_CURSOR_LENGTH = 4096
"""Characters in a cursor. A longer one would not fit into the request line of many servers."""
MAX_COUNT = 2**31 - 1
"""Contacts in a count: the largest number that the ledger stores."""

_CONTRACT = ConfigDict(alias_generator=to_camel, strict=True, frozen=True)


class Page(BaseModel):
    """One page of contacts; `next_cursor` is None on the last."""

    model_config = _CONTRACT
    items: list[Contact]
    next_cursor: Annotated[str, Field(min_length=1, max_length=MAX_CURSOR_LENGTH)] | None


class _One(BaseModel):
    model_config = _CONTRACT
    item: Contact


class _Count(BaseModel):
    model_config = _CONTRACT
    count: Annotated[int, Field(ge=0, le=MAX_COUNT)]


class _Statuses(BaseModel):
    model_config = _CONTRACT
    items: Annotated[list[ContactStatus], Field(max_length=MAX_STATUSES)]


_Shape = TypeVar("_Shape", bound=BaseModel)


def read_page(body: bytes, *, limit: int) -> Page:
    """A page of at most `limit` contacts. Raises AudienceUnavailable, or AudienceRefused for an id that cannot be
    stored or cannot be one segment of a path."""
    page = _read(Page, body)
    if len(page.items) > limit:
        raise AudienceUnavailable(f"The CRM's page has {len(page.items)} contacts; {limit} were asked for.")
    for contact in page.items:
        validate_contact_id(contact.id)
        # Its opt-out could not be written back, so it must not be mailed.
        if not is_one_segment(contact.id):
            raise AudienceRefused(
                f"The CRM has a contact whose id cannot be one segment of a path: {contact.id!a}. "
                "It has a slash or a control character, or is a dot or two."
            )
    return page


def read_contact(body: bytes) -> Contact:
    """One contact. Raises the same errors as `read_page`."""
    contact = _read(_One, b'{"item":' + body + b"}").item
    validate_contact_id(contact.id)
    return contact


def read_count(body: bytes) -> int:
    """A number of contacts. Raises AudienceUnavailable."""
    return _read(_Count, body).count


def read_statuses(body: bytes) -> list[ContactStatus]:
    """The statuses a contact can have. Raises AudienceUnavailable."""
    return _read(_Statuses, body).items


def read_detail(body: bytes) -> str | None:
    """The reason in the JSON of an error response (RFC 9457 §3.1), at most 200 characters; None if it has none."""
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(problem, dict):
        return None
    for member in ("detail", "title", "message"):
        text = problem.get(member)
        if isinstance(text, str) and text.isprintable() and text:
            return text[:200]
    return None


def validate_contact_id(contact_id: str) -> None:
    """Raises AudienceRefused for an id that cannot be stored."""
    # Such an id must fail the launch: if only its contact were left out, nobody would notice.
    if not 0 < len(contact_id) <= MAX_ID_LENGTH or not is_storable(contact_id):
        raise AudienceRefused(
            f"The CRM has a contact whose id is not text of 1 to {MAX_ID_LENGTH} characters: "
            f"{contact_id[:MAX_ID_LENGTH]!a}."
        )


def _read(shape: type[_Shape], body: bytes) -> _Shape:
    # Strict JSON rejects an unpaired surrogate, and PostgreSQL can store neither that nor NUL. Old systems that
    # truncate names produce both. Only the character is replaced; the launch does not fail.
    try:
        if b"\\u0000" not in body:
            return shape.model_validate_json(body)
    except ValidationError as error:
        if error.errors(include_input=False)[0]["type"] != "json_invalid":
            raise _contract_error(error) from None
    try:
        return shape.model_validate_json(json.dumps(_all_storable(json.loads(body))))
    except ValidationError as error:
        raise _contract_error(error) from None
    except (ValueError, RecursionError):
        raise AudienceUnavailable("The CRM's response is not JSON, or was cut short.") from None


def _contract_error(error: ValidationError) -> AudienceUnavailable:
    problem = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return AudienceUnavailable(f"The CRM's response does not match its contract: {place}: {problem['msg']}.")


def _all_storable(value: Any) -> Any:
    """The same JSON with storable text. An id that is not storable is refused: a changed id names another contact."""
    if isinstance(value, dict):
        if isinstance(contact_id := value.get("id"), str):
            validate_contact_id(contact_id)
        return {key: _all_storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_all_storable(item) for item in value]
    return storable(value) if isinstance(value, str) else value
