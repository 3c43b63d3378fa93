"""The development CRM: the HTTP calls that this service makes, with generated contacts."""

from __future__ import annotations

import secrets
from html import escape
from http import HTTPStatus
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from pydantic.alias_generators import to_camel
from starlette.exceptions import HTTPException as StarletteHTTPException

from marketing_service.devstack.contacts import STATUSES, Filters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from marketing_service.devstack.contacts import ContactBook
    from marketing_service.ports import Contact

    Faults = Callable[[Request], Awaitable[Response | None]]

_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"


class ContactChange(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    marketing_opt_out: StrictBool


def create_crm_app(contacts: ContactBook, token: str, *, faults: Faults | None = None) -> FastAPI:
    """The CRM's web application. API callers must send `token` as their bearer token.

    `faults` is called first for each request. If it returns a response, that response is sent. If it returns None,
    the CRM handles the request.
    """
    app = FastAPI(title="Development CRM", docs_url=None, redoc_url=None)
    if faults is not None:

        @app.middleware("http")
        async def fail_on_purpose(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
            return await faults(request) or await call_next(request)

    app.include_router(_api(contacts, token))
    app.include_router(_pages(contacts))
    app.add_exception_handler(StarletteHTTPException, _refusal)
    app.add_exception_handler(RequestValidationError, _invalid)
    return app


async def _refusal(_: Request, error: Exception) -> Response:
    if not isinstance(error, StarletteHTTPException):
        raise error
    return _problem(error.status_code, error.detail, error.headers)


async def _invalid(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    wrong = (f"{'.'.join(map(str, invalid['loc']))}: {invalid['msg']}" for invalid in error.errors())
    return _problem(422, "; ".join(wrong))


def _problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A problem response (RFC 9457)."""
    problem = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(problem, status, headers, media_type="application/problem+json")


NonEmpty = Annotated[str, Field(min_length=1)]


def _filters(
    has_email: Annotated[bool | None, Query(alias="hasEmail")] = None,
    opted_out: Annotated[bool | None, Query(alias="marketingOptOut")] = None,
    status: Annotated[list[NonEmpty], Query()] = [],  # noqa: B006 - FastAPI copies it
    email: Annotated[NonEmpty | None, Query()] = None,
) -> Filters:
    return Filters(has_email, opted_out, frozenset(status), email)


def _start(cursor: str | None = None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit()):
        raise HTTPException(422, "The cursor is not valid: it must be a nextCursor of this list.")
    return int(cursor)


ContactFilters = Annotated[Filters, Depends(_filters)]
Start = Annotated[int, Depends(_start)]


def _api(contacts: ContactBook, token: str) -> APIRouter:
    def authorised(org_id: str, authorization: Annotated[str, Header()] = "") -> None:
        if not secrets.compare_digest(authorization.encode(), f"Bearer {token}".encode()):
            raise HTTPException(401, "A valid service token is required.", {"WWW-Authenticate": "Bearer"})
        if org_id not in contacts.organisations:
            raise HTTPException(404, "There is no such organisation.")

    api = APIRouter(prefix="/api/crm/orgs/{org_id}", dependencies=[Depends(authorised)])
    _add_reading(api, contacts)

    @api.patch("/contacts/{contact_id}")
    async def change_contact(org_id: str, contact_id: str, change: ContactChange) -> Response:
        return _existing(contacts.set_opt_out(org_id, contact_id, opted_out=change.marketing_opt_out))

    return api


def _add_reading(api: APIRouter, contacts: ContactBook) -> None:
    @api.get("/contacts")
    def list_contacts(
        org_id: str, filters: ContactFilters, start: Start, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> Response:
        found, next_start = contacts.page(org_id, filters, start, limit)
        next_cursor = None if next_start is None else str(next_start)
        return JSONResponse({"items": [_as_json(contact) for contact in found], "nextCursor": next_cursor})

    @api.get("/contacts/count")
    def count_contacts(org_id: str, filters: ContactFilters) -> dict[str, int]:
        return {"count": contacts.count(org_id, filters)}

    @api.get("/contacts/{contact_id}")
    async def read_contact(org_id: str, contact_id: str) -> Response:
        return _existing(contacts.get(org_id, contact_id))

    @api.get("/contact-statuses")
    async def list_statuses() -> dict[str, Any]:
        return {"items": [{"value": status.value, "label": status.label} for status in STATUSES]}


def _existing(contact: Contact | None) -> Response:
    if contact is None:
        raise HTTPException(404, "There is no such contact.")
    return JSONResponse(_as_json(contact))


def _as_json(contact: Contact) -> dict[str, Any]:
    return {
        "id": contact.id,
        "email": contact.email,
        "firstName": contact.first_name,
        "lastName": contact.last_name,
        "companyName": contact.company_name,
        "status": contact.status,
        "marketingOptOut": contact.marketing_opt_out,
    }


def _pages(contacts: ContactBook) -> APIRouter:
    """A page that lists the fixed contacts and can change their opt-outs, as in a real CRM."""
    pages = APIRouter()

    @pages.get("/")
    def show_contacts() -> Response:
        page = Template(files(__package__).joinpath("crm_page.html").read_text(encoding="utf-8"))
        tables = "".join(_table(org_id, contacts.fixed_contacts(org_id)) for org_id in contacts.organisations)
        html = page.substitute(tables=tables)
        return HTMLResponse(html, headers={"Content-Security-Policy": _PAGE_POLICY})

    @pages.post("/orgs/{org_id}/contacts/{contact_id}")
    async def change_opt_out(org_id: str, contact_id: str, request: Request) -> Response:
        form = parse_qs((await request.body()).decode(errors="replace"))
        opted_out = form.get("marketingOptOut") == ["true"]
        known = org_id in contacts.organisations
        if not known or contacts.set_opt_out(org_id, contact_id, opted_out=opted_out) is None:
            raise HTTPException(404, "There is no such contact.")
        return RedirectResponse(f"/#{quote(f'{org_id}-{contact_id}')}", status_code=303)

    return pages


def _table(org_id: str, fixed: list[Contact]) -> str:
    head = "".join(f"<th scope=col>{title}</th>" for title in ("Name", "Address", "Status", "Marketing opt-out"))
    rows = "".join(_row(org_id, contact) for contact in fixed)
    return f"<h2>{escape(org_id)}</h2><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(org_id: str, contact: Contact) -> str:
    name = " ".join(part for part in (contact.first_name, contact.last_name) if part)
    change = "false" if contact.marketing_opt_out else "true"
    form = (
        f'<form method="post" action="/orgs/{quote(org_id)}/contacts/{quote(contact.id)}">'
        f'<input type="hidden" name="marketingOptOut" value="{change}">'
        f"{'☑' if contact.marketing_opt_out else '☐'} "
        f"<button>{'Un-tick' if contact.marketing_opt_out else 'Tick'}"
        f'<span class="unseen"> the opt-out of {escape(name or contact.id)}</span></button></form>'
    )
    return (
        f'<tr id="{escape(org_id)}-{escape(contact.id)}"><td>{escape(name or "—")}</td>'
        f"<td>{escape(contact.email or '—')}</td><td>{escape(contact.status or '—')}</td><td>{form}</td></tr>"
    )
