"""Settings, tokens, clients and requests for the tests of the API."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import jwt
from fastapi import Response

from marketing_service.api.app import create_app, create_internal_app
from marketing_service.api.metrics import Metrics
from marketing_service.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from fastapi import Request
    from starlette.types import ASGIApp

    from marketing_service.bootstrap import Resources
    from marketing_service.devstack.contacts import ContactBook

SECRET = "0123456789abcdef0123456789abcdef"
CRM_TOKEN = "crm-token"
BASE_URL = "http://marketing.test"
CAMPAIGNS = "/api/marketing/campaigns"
BROKEN = 500

MESSAGE: dict[str, Any] = {
    "name": "April newsletter",
    "subject": "Hello {{firstName}}",
    "fromEmail": "news@acme.example",
    "htmlBody": "<p>Hello {{firstName}}</p>",
}


class Crm:
    """The contacts of the development CRM. If `status` is set, every response has that status."""

    client: httpx.AsyncClient
    contacts: ContactBook
    status: int | None

    async def fault(self, _: Request) -> Response | None:
        return None if self.status is None else Response(status_code=self.status)


class CurrentContacts:
    """The contacts that the CRM has now: the application of the development CRM is made once, for all tests."""

    def __init__(self, crm: Crm) -> None:
        self._crm = crm

    def __getattr__(self, name: str) -> Any:
        return getattr(self._crm.contacts, name)


def api_settings(database_url: str, redis_url: str, **values: Any) -> Settings:
    return load_settings(
        **{
            "database_url": database_url,
            "redis_url": redis_url,
            "crm_url": "http://crm.test",
            "crm_token": CRM_TOKEN,
            "public_base_url": BASE_URL,
            "token_keys": "k" * 32,
            "jwt_secret": SECRET,
            "jwt_issuer": "portal",
            "jwt_audience": "marketing",
            "database_pool": 5,
            # Off: most tests make more requests than a person does. The tests of the limits set them.
            "api_rate_token": "",
            "api_rate_public": "",
            "api_rate_test": "",
        }
        | values
    )


def token(*, org_id: str = "acme", roles: list[str] | None = None, **claims: Any) -> str:
    now = int(time.time())
    payload = {
        "sub": "ada",
        "iss": "portal",
        "aud": "marketing",
        "exp": now + 900,
        "orgId": org_id,
        "roles": ["ADMIN"] if roles is None else roles,
    }
    return jwt.encode(payload | claims, SECRET, "HS256")


def client_of(app: ASGIApp, access_token: str | None) -> httpx.AsyncClient:
    headers = {} if access_token is None else {"Authorization": f"Bearer {access_token}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL, headers=headers)


@asynccontextmanager
async def both_apps(resources: Resources) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """A user's client of the public application, and a client of the internal one."""
    metrics = Metrics()
    public = create_app(resources, metrics=metrics, health=False, response_seconds=60)
    internal = create_internal_app(resources, metrics=metrics)
    async with client_of(public, token()) as user, client_of(internal, None) as operator:
        yield user, operator


async def saved(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    """Create a draft over the API."""
    response = await client.post(CAMPAIGNS, json=MESSAGE | changes)
    assert response.status_code == 201, response.text
    campaign: dict[str, Any] = response.json()
    return campaign


def path(campaign: dict[str, Any] | UUID, suffix: str = "") -> str:
    return f"{CAMPAIGNS}/{campaign['id'] if isinstance(campaign, dict) else campaign}{suffix}"


def assert_problem(response: httpx.Response, status: int, name: str, *fields: str) -> dict[str, Any]:
    """Assert that the response is this problem with errors in exactly these fields. Returns its body."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), (
        response.text
    )
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"/problems/{name}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["requestId"] == response.headers["x-request-id"]
    assert [error["field"] for error in problem.get("errors", [])] == list(fields)
    return problem
