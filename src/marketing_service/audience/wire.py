"""The JSON of the CRM's API (`openapi/crm.yaml`), read whole or not at all.

What is not in the contract's shape makes AudienceUnavailable: an answer cut short, or a proxy's page, is gone by
the next try. Members we do not know are left alone.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from marketing_service.ports import AudienceRefused, AudienceUnavailable, Contact, ContactStatus

MAX_ID_LENGTH = 64
"""Characters in a contact's id."""

_CONTRACT = ConfigDict(alias_generator=to_camel, strict=True, frozen=True)


class Page(BaseModel):
    """One page of contacts; `next_cursor` is None on the last."""

    model_config = _CONTRACT
    items: list[Contact]
    next_cursor: Annotated[str, Field(min_length=1)] | None


class _One(BaseModel):
    model_config = _CONTRACT
    item: Contact


class _Count(BaseModel):
    model_config = _CONTRACT
    count: Annotated[int, Field(ge=0)]


class _Statuses(BaseModel):
    model_config = _CONTRACT
    items: list[ContactStatus]


_Answer = TypeVar("_Answer", bound=BaseModel)


def read_page(body: bytes) -> Page:
    """A page of contacts. Raises AudienceUnavailable, and AudienceRefused for an id we cannot keep."""
    page = _read(Page, body)
    for contact in page.items:
        refuse_odd_id(contact.id)
    return page


def read_contact(body: bytes) -> Contact:
    """One contact. Raises as read_page does."""
    contact = _read(_One, b'{"item":' + body + b"}").item
    refuse_odd_id(contact.id)
    return contact


def read_count(body: bytes) -> int:
    """A number of contacts. Raises AudienceUnavailable."""
    return _read(_Count, body).count


def read_statuses(body: bytes) -> list[ContactStatus]:
    """The statuses a contact can have. Raises AudienceUnavailable."""
    return _read(_Statuses, body).items


def read_detail(body: bytes) -> str | None:
    """What a refusal's JSON says in a sentence (RFC 9457 §3.1), at most 200 characters of it; else None."""
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


def refuse_odd_id(contact_id: str) -> None:
    """Raises AudienceRefused for an id we cannot keep."""
    # An id that cannot be kept whole must stop the launch: were its contact left out, nobody would notice.
    if not 0 < len(contact_id) <= MAX_ID_LENGTH or _storable(contact_id) != contact_id:
        raise AudienceRefused(
            f"The CRM has a contact whose id is not text of 1 to {MAX_ID_LENGTH} characters: "
            f"{contact_id[:MAX_ID_LENGTH]!a}."
        )


def _read(shape: type[_Answer], body: bytes) -> _Answer:
    # In strict JSON half a surrogate pair is no text, and PostgreSQL can keep neither that nor NUL. Old systems
    # that cut names at a length have both: only the character is lost, not the launch.
    try:
        if b"\\u0000" not in body:
            return shape.model_validate_json(body)
    except ValidationError as error:
        if error.errors(include_input=False)[0]["type"] != "json_invalid":
            raise _out_of_shape(error) from None
    try:
        return shape.model_validate_json(json.dumps(_all_storable(json.loads(body))))
    except ValidationError as error:
        raise _out_of_shape(error) from None
    except (ValueError, RecursionError):
        raise AudienceUnavailable("The CRM's answer is not JSON, or was cut short.") from None


def _out_of_shape(error: ValidationError) -> AudienceUnavailable:
    problem = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return AudienceUnavailable(f"The CRM's answer is not as agreed: {place}: {problem['msg']}.")


def _all_storable(value: Any) -> Any:
    """The same JSON with storable text; an id that is none is refused, for another id is another contact's."""
    if isinstance(value, dict):
        if isinstance(contact_id := value.get("id"), str):
            refuse_odd_id(contact_id)
        return {key: _all_storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_all_storable(item) for item in value]
    return _storable(value) if isinstance(value, str) else value


def _storable(text: str) -> str:
    """The same text, with U+FFFD for each NUL and each half of a surrogate pair."""
    if text.isprintable():
        return text
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.replace("\x00", "\ufffd")
