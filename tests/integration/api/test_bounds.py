"""Every request has a bound: who may have the body read, how deep and large it may be, how long the answer is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.routing import APIRoute

from marketing_service.api.app import _ROUTERS, create_internal_app, routed_app
from marketing_service.api.authenticated_route import AuthenticatedRoute
from marketing_service.api.metrics import Metrics
from marketing_service.api.shared_result import SharedResult
from marketing_service.bootstrap import Resources
from marketing_service.rendering import MAX_NODES
from tests.integration.api.support import CAMPAIGNS, MESSAGE, assert_problem, client_of, path, saved, token

if TYPE_CHECKING:
    import httpx
    from starlette.types import ASGIApp, Message

COSTLY = "{% for i in (1..100) %}{{ firstName }}{% endfor %}" * 20
SOME = "01970000-0000-7000-8000-000000000001"


def _protected() -> list[tuple[str, str]]:
    """The method and path of every route that needs a token."""
    document = routed_app(None).openapi()
    return [
        (method.upper(), address.replace("{id}", SOME).replace("{sendId}", SOME))
        for address, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation.get("security")
    ]


def _writing() -> list[tuple[str, str]]:
    return [(m, p) for m, p in _protected() if m in {"POST", "PUT", "PATCH", "DELETE"} and not p.endswith("/preview")]


async def _status_without_body(app: ASGIApp, method: str, address: str, access_token: str | None) -> int:
    """The status of a request whose body must not be read."""
    headers = [(b"host", b"marketing.test"), (b"content-type", b"application/json"), (b"content-length", b"2700000")]
    if access_token is not None:
        headers.append((b"authorization", f"Bearer {access_token}".encode("ascii")))
    statuses = []

    async def receive() -> Message:
        raise AssertionError("The body of a caller who is not allowed was read.")

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": address, "raw_path": address.encode(), "query_string": b"", "root_path": "", "headers": headers,
        "client": ("192.0.2.1", 1), "server": ("marketing.test", 80), "state": {},
    }  # fmt: skip
    await app(scope, receive, send)
    return int(statuses[0])


def test_every_router_checks_the_caller_first() -> None:
    routes = [route for router in _ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    assert {type(route) for route in routes} == {AuthenticatedRoute}
    assert len(_protected()) > 25


async def test_the_body_of_an_anonymous_caller_is_never_read(app: ASGIApp) -> None:
    for method, address in _protected():
        assert await _status_without_body(app, method, address, None) == 401, (method, address)
        assert await _status_without_body(app, method, address, "no.valid.token") == 401, (method, address)


async def test_the_body_of_a_caller_without_the_role_is_never_read(app: ASGIApp) -> None:
    assert len(_writing()) > 10
    for method, address in _writing():
        assert await _status_without_body(app, method, address, token(roles=["VIEWER"])) == 403, (method, address)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[" + b"[]," * 900_000 + b"[]]", "more than 2,000 values"),
        (b"[" * 100_000, "more than 2,000 values"),
        (b'{"name":' * 40 + b"1" + b"}" * 40, "nested more than 32"),
        (b'{"name": "a", "name": "b"}', "same name twice"),
        (b'{"name": NaN}', "NaN"),
        (b'{"name": ' + b"9" * 5000 + b"}", "more than 1,000 digits"),
        ('{"name": "x"}'.encode("utf-16"), "not UTF-8"),
    ],
)
async def test_a_hostile_body_is_refused_before_it_is_parsed(admin: httpx.AsyncClient, body: bytes, says: str) -> None:
    response = await admin.post(CAMPAIGNS, content=body, headers={"Content-Type": "application/json"})
    assert says in assert_problem(response, 400, "unparsable")["detail"]


async def test_at_most_a_hundred_errors_are_listed_and_long_names_are_cut(admin: httpx.AsyncClient) -> None:
    unknown: dict[str, Any] = {f"unknown{number}": 1 for number in range(1_900)} | {"x" * 1_000_000: 1}
    response = await admin.post(CAMPAIGNS, json=dict(reversed((MESSAGE | unknown).items())))
    assert response.status_code == 422
    assert len(response.content) < 50_000
    errors = response.json()["errors"]
    assert len(errors) == 100
    assert max(len(error["field"]) for error in errors) <= 200
    assert response.json()["detail"].endswith("; and 1,801 more")
    query = "&".join(f"q{number}" for number in range(1_500))
    response = await admin.get(f"{CAMPAIGNS}/{SOME}?{query}")
    assert len(response.json()["errors"]) == 100


async def test_readiness_and_totals_are_shared_by_all_callers(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes, totals, ledger_stats = [], [], Resources.stats

    async def probe(_: Resources) -> dict[str, str]:
        probes.append(1)
        return {}

    async def count(self: Resources) -> Any:
        totals.append(1)
        return await ledger_stats(self)

    monkeypatch.setattr(Resources, "missing", probe)
    monkeypatch.setattr(Resources, "stats", count)
    app = create_internal_app(resources, metrics=Metrics())
    app.state.readiness, app.state.ledger_stats = SharedResult[Any](3600), SharedResult[Any](3600)
    async with client_of(app, None) as client:
        for _ in range(20):
            assert (await client.get("/readyz")).status_code == 200
            assert (await client.get("/metrics")).status_code == 200
    assert (len(probes), len(totals)) == (1, 1)


class TestCostlyTemplates:
    @pytest.mark.parametrize("field", ["subject", "htmlBody", "textBody"])
    async def test_saving_and_previewing_name_the_field(self, admin: httpx.AsyncClient, field: str) -> None:
        costly = COSTLY if field != "subject" else COSTLY[: 50 * 9]
        for response in (
            await admin.post(CAMPAIGNS, json=MESSAGE | {field: costly}),
            await admin.patch(path(await saved(admin)), json={field: costly}),
            await admin.post("/api/marketing/preview", json={"htmlBody": "x", field: costly}),
        ):
            error = assert_problem(response, 422, "invalid-input", field)["errors"][0]
            assert error["code"] == "template-too-costly"
            assert f"more than {MAX_NODES:,} nodes" in error["message"]

    async def test_a_saved_one_is_refused_by_a_preview_a_test_and_a_launch(
        self, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It can be saved before a release that makes the limit stricter."""
        monkeypatch.setattr("marketing_service.rendering.budget.MAX_NODES", 10**9)
        monkeypatch.setattr("marketing_service.rendering.budget.MAX_OCTETS", 10**9)
        campaign = await saved(admin, textBody=COSTLY)
        monkeypatch.undo()
        for response in (
            await admin.get(path(campaign, "/preview")),
            await admin.post(path(campaign, "/test"), json={"to": ["ann@example.com"]}),
            await admin.post(path(campaign, "/launch")),
        ):
            problem = assert_problem(response, 422, "invalid-input", "textBody")
            assert problem["errors"][0]["code"] == "template-too-costly"
        assert json.loads((await admin.get(path(campaign))).text)["status"] == "DRAFT"
