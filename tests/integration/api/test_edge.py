"""What every request gets: ids, limits, headers, methods, outages, health, metrics, one log line."""

import asyncio
import dataclasses
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
import structlog
import uvicorn
from starlette.types import ASGIApp

from marketing_service.api.app import create_app
from marketing_service.bootstrap import Resources
from marketing_service.campaigns import drafts, email_log
from marketing_service.db import Database, Transaction
from marketing_service.devstack.valkey import ValkeyServer
from marketing_service.errors import Unavailable
from marketing_service.queue import connect
from marketing_service.store import email_log as log_store
from marketing_service.tokens import Purpose
from tests.integration.api.support import (
    CAMPAIGNS,
    MESSAGE,
    api_settings,
    assert_problem,
    both_apps,
    client_of,
    path,
    saved,
    token,
)
from tests.support.ledger import launched

NOWHERE = "postgresql://nobody@127.0.0.1:9/none"


@pytest.fixture
async def without_postgresql(resources: Resources) -> AsyncIterator[httpx.AsyncClient]:
    nowhere = Database(NOWHERE, role="marketing_api", connect_timeout=0.5, statement_timeout=1)
    replaced = dataclasses.replace(resources, transactions=nowhere.transaction)
    async with client_of(create_app(replaced), token()) as client:
        yield client
    await nowhere.close()


@pytest.fixture
async def internal_without_postgresql(resources: Resources) -> AsyncIterator[httpx.AsyncClient]:
    nowhere = Database(NOWHERE, role="marketing_api", connect_timeout=0.5, statement_timeout=1)
    async with both_apps(dataclasses.replace(resources, transactions=nowhere.transaction)) as (_, client):
        yield client
    await nowhere.close()


@pytest.fixture
async def without_redis(resources: Resources, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with Resources.open(api_settings(database_url, "redis://127.0.0.1:9/0"), process="api") as other:
        replaced = dataclasses.replace(resources, job_queue=other.job_queue)
        async with client_of(create_app(replaced), token()) as client:
            yield client


class TestRequestId:
    async def test_the_id_of_the_caller_is_returned(self, anonymous: httpx.AsyncClient) -> None:
        response = await anonymous.get("/healthz", headers={"X-Request-ID": "abc-123_x.y"})
        assert response.headers["x-request-id"] == "abc-123_x.y"

    @pytest.mark.parametrize("given", ["", "two words", "x" * 65, "a@b.example", "<b>", '"'])
    async def test_an_id_that_is_not_safe_to_log_is_replaced(self, anonymous: httpx.AsyncClient, given: str) -> None:
        response = await anonymous.get("/healthz", headers={"X-Request-ID": given})
        assert len(response.headers["x-request-id"]) == 32

    async def test_a_problem_names_it(self, anonymous: httpx.AsyncClient) -> None:
        response = await anonymous.get("/nowhere", headers={"X-Request-ID": "mine"})
        assert assert_problem(response, 404, "not-found")["requestId"] == "mine"


class TestSize:
    async def test_a_large_content_length_is_refused_before_reading(self, admin: httpx.AsyncClient) -> None:
        assert_problem(await admin.post(CAMPAIGNS, content=b" " * 3_000_001), 413, "too-large")

    async def test_a_large_chunked_body_is_refused(self, admin: httpx.AsyncClient) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(40):
                yield b" " * 100_000

        headers = {"Content-Type": "application/json"}
        assert_problem(await admin.post(CAMPAIGNS, content=chunks(), headers=headers), 413, "too-large")

    async def test_two_bodies_of_a_megabyte_fit(self, admin: httpx.AsyncClient) -> None:
        body = json.dumps(MESSAGE | {"htmlBody": "h" * 1_000_000, "textBody": "t" * 1_000_000})
        response = await admin.post(CAMPAIGNS, content=body, headers={"Content-Type": "application/json"})
        assert response.status_code == 201


async def test_every_response_has_security_headers(admin: httpx.AsyncClient) -> None:
    for response in (await admin.get(CAMPAIGNS), await admin.get("/nowhere"), await admin.get("/healthz")):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in response.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        (CAMPAIGNS, "GET, POST"),
        (f"{CAMPAIGNS}/x", "DELETE, GET, PATCH"),
        (f"{CAMPAIGNS}/x/launch", "POST"),
        ("/api/marketing/stats", "GET"),
        ("/api/marketing/pixel/x.gif", "GET, HEAD"),
        ("/api/marketing/unsubscribe/x", "GET, HEAD, POST"),
        ("/healthz", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_allowed_gets_all_that_are(
    admin: httpx.AsyncClient, address: str, allowed: str
) -> None:
    for method in ("PUT", "BREW"):
        response = await admin.request(method, address)
        assert_problem(response, 405, "method-not-allowed")
        assert response.headers["allow"] == allowed


@pytest.mark.parametrize("address", ["/", "/api", f"{CAMPAIGNS}/", "/docs", "/openapi.json", "/api/marketing/%00"])
async def test_nothing_is_served_elsewhere(admin: httpx.AsyncClient, address: str) -> None:
    assert_problem(await admin.get(address), 404, "not-found")


class TestForbidden:
    async def test_no_organisation(self, app: ASGIApp) -> None:
        async with client_of(app, token(orgId=None)) as client:
            assert_problem(await client.get(CAMPAIGNS), 403, "no-organisation")

    async def test_no_feature(self, app: ASGIApp) -> None:
        async with client_of(app, token(features=["crm"])) as client:
            assert_problem(await client.get(CAMPAIGNS), 403, "feature")


class TestOutages:
    async def test_without_postgresql_every_call_is_a_503_in_time(self, without_postgresql: httpx.AsyncClient) -> None:
        some = "01970000-0000-7000-8000-000000000001"
        calls: list[tuple[str, str, Any]] = [
            ("GET", CAMPAIGNS, None),
            ("POST", CAMPAIGNS, MESSAGE),
            ("GET", f"{CAMPAIGNS}/{some}", None),
            ("PATCH", f"{CAMPAIGNS}/{some}", {"name": "x"}),
            ("GET", f"{CAMPAIGNS}/{some}/sends.csv", None),
            ("POST", f"{CAMPAIGNS}/{some}/launch", None),
            ("GET", "/api/marketing/stats", None),
        ]
        for method, address, body in calls:
            async with asyncio.timeout(5):
                response = await without_postgresql.request(method, address, json=body)
            assert_problem(response, 503, "unavailable")
            assert int(response.headers["retry-after"]) > 0
        assert (await without_postgresql.get("/api/marketing/contact-statuses")).status_code == 200

    async def test_there_is_no_success_response_before_the_commit(self, resources: Resources) -> None:
        @asynccontextmanager
        async def lost_at_commit(org_id: str | None = None) -> AsyncIterator[Transaction]:
            async with resources.transactions(org_id) as tx:
                yield tx
                raise Unavailable("PostgreSQL")

        app = create_app(dataclasses.replace(resources, transactions=lost_at_commit))
        async with client_of(app, token()) as client:
            assert_problem(await client.post(CAMPAIGNS, json=MESSAGE), 503, "unavailable")
        async with client_of(create_app(resources), token()) as client:
            assert (await client.get(CAMPAIGNS)).json()["items"] == []

    async def test_without_redis_a_launch_is_accepted(self, without_redis: httpx.AsyncClient) -> None:
        campaign = await saved(without_redis)
        async with asyncio.timeout(5):
            assert (await without_redis.post(path(campaign, "/launch"))).status_code == 202
            response = await without_redis.post(path(campaign, "/test"), json={"to": ["a@b.example"]})
        assert response.status_code == 202

    async def test_an_unexpected_error_is_a_500_problem_without_details(
        self, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def broken(*_: Any, **__: Any) -> None:
            raise KeyError("secret@example.com")

        monkeypatch.setattr(drafts, "newest_first", broken)
        response = await admin.get(CAMPAIGNS)
        assert_problem(response, 500, "internal")
        assert "secret" not in response.text


class TestHealth:
    async def test_alive(self, internal_without_postgresql: httpx.AsyncClient) -> None:
        assert (await internal_without_postgresql.get("/healthz")).json() == {"status": "ok"}
        assert (await internal_without_postgresql.head("/healthz")).status_code == 200

    async def test_readiness_names_what_is_missing(self, internal_without_postgresql: httpx.AsyncClient) -> None:
        async with asyncio.timeout(5):
            response = await internal_without_postgresql.get("/readyz")
        assert response.status_code == 503
        assert response.json()["ready"] is False
        assert "postgresql" in response.json()["missing"]
        assert "redis" not in response.json()["missing"]
        assert "does not answer" in response.json()["causes"]["postgresql"]
        assert int(response.headers["retry-after"]) > 0

    async def test_a_server_that_takes_no_writes_is_not_ready(self, database_url: str, valkey: ValkeyServer) -> None:
        """A standby of PostgreSQL, and a user of Redis that may only read."""
        redis = connect(valkey.url())
        await redis.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@read", "+@connection")  # type: ignore[no-untyped-call] # redis has no types here
        url = urlsplit(valkey.url())
        settings = api_settings(
            f"{database_url}?options=-cdefault_transaction_read_only%3Don",
            url._replace(netloc=f"reader:secret@{url.netloc}").geturl(),
        )
        async with Resources.open(settings, process="api") as unwritable:
            causes = await unwritable.missing()
        assert "PostgreSQL is read-only" in causes["postgresql"]
        assert "Redis does not give this service the rights that it needs" in causes["redis"]
        await redis.execute_command("ACL", "DELUSER", "reader")  # type: ignore[no-untyped-call] # redis has no types here
        await redis.aclose(close_connection_pool=True)

    async def test_ready(self, resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
        async def nothing(_: Resources) -> dict[str, str]:
            return {}

        monkeypatch.setattr(Resources, "missing", nothing)
        async with both_apps(resources) as (_, client):
            response = await client.get("/readyz")
        assert (response.status_code, response.json()) == (200, {"ready": True, "missing": [], "causes": {}})


class TestInsideAndOutside:
    async def test_with_an_internal_port_the_public_one_serves_nothing_for_operators(
        self, resources: Resources
    ) -> None:
        async with both_apps(resources) as (user, operator):
            for address in ("/healthz", "/readyz", "/metrics"):
                assert_problem(await user.get(address), 404, "not-found")
                assert (await operator.get(address)).status_code in {200, 503}
            assert_problem(await operator.get(CAMPAIGNS), 404, "not-found")

    async def test_without_an_internal_port_only_the_health_is_served(self, anonymous: httpx.AsyncClient) -> None:
        assert (await anonymous.get("/healthz")).status_code == 200
        for address in ("/readyz", "/metrics"):
            assert_problem(await anonymous.get(address), 404, "not-found")


class TestMetrics:
    async def test_http_by_template_and_the_ledger(self, resources: Resources, owner: Database) -> None:
        campaign_id = await launched(owner, 3)
        async with both_apps(resources) as (user, operator):
            await user.get(path(campaign_id))
            await user.get("/nowhere/at-all")
            response = await operator.get("/metrics")
        assert response.headers["content-type"].startswith("text/plain")
        lines = response.text.splitlines()
        route = f'route="{CAMPAIGNS}/{{id}}"'
        assert f'marketing_http_requests_total{{method="GET",{route},status="2xx"}} 1.0' in lines
        assert 'marketing_http_requests_total{method="GET",route="none",status="4xx"} 1.0' in lines
        assert 'marketing_sends{status="QUEUED"} 3.0' in lines
        assert "marketing_ledger_up 1.0" in lines
        assert "at-all" not in response.text
        assert str(campaign_id) not in response.text

    async def test_internal_without_postgresql(self, internal_without_postgresql: httpx.AsyncClient) -> None:
        response = await internal_without_postgresql.get("/metrics")
        assert response.status_code == 200
        assert "marketing_ledger_up 0.0" in response.text
        assert "marketing_sends{" not in response.text


async def test_the_log_has_ids_and_templates_and_no_token_or_address(
    admin: httpx.AsyncClient, resources: Resources
) -> None:
    campaign = await saved(admin)
    public = resources.tokens.issue(Purpose.UNSUBSCRIBE, UUID(int=5))
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        await admin.get(path(campaign, "/sends?q=ada@example.com"), headers={"X-Request-ID": "mine"})
        await admin.get(f"/api/marketing/unsubscribe/{public}")
        await admin.get(f"{CAMPAIGNS}/ada@example.com")
        await admin.get("/ada@example.com")
    lines = [line for line in logs if line["event"] == "request"]
    assert lines[0]["request_id"] == "mine"
    assert lines[0]["campaign_id"] == campaign["id"]
    assert lines[0]["route"] == f"{CAMPAIGNS}/{{id}}/sends"
    assert [line["status"] for line in lines] == [200, 404, 422, 404]
    assert "ada@example.com" not in str(logs)
    assert public not in str(logs)


class TestConnection:
    """Over a socket, where a broken response differs from a short one."""

    @pytest.fixture
    async def address(self, app: ASGIApp) -> AsyncIterator[str]:
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(config)
        # Not `serve`: it replaces the signal handlers of the test process.
        serving = asyncio.create_task(server._serve([listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await serving

    async def test_an_error_after_the_start_breaks_the_download(
        self, address: str, owner: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        campaign_id = await launched(owner, 5)
        monkeypatch.setattr(email_log, "EXPORT_PAGE", 2)
        whole, calls = log_store.page_of_log, []

        async def breaks(*args: Any, **options: Any) -> Any:
            calls.append(1)
            if len(calls) == 3:
                raise Unavailable("PostgreSQL")
            return await whole(*args, **options)

        monkeypatch.setattr(log_store, "page_of_log", breaks)
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token()}"}) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(address + path(campaign_id, "/sends.csv"))
            monkeypatch.undo()
            assert len((await client.get(address + path(campaign_id, "/sends.csv"))).text.splitlines()) == 6

    async def test_a_download_that_cannot_begin_is_a_problem(self, address: str) -> None:
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token()}"}) as client:
            response = await client.get(f"{address}{CAMPAIGNS}/01970000-0000-7000-8000-000000000001/sends.csv")
        assert_problem(response, 404, "not-found")
