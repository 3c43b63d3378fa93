"""The limits over HTTP, with two API processes, while Redis is up, frozen, stopped and back."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from marketing_service.auth import mint_token
from marketing_service.devstack.contacts import ORG_ID
from marketing_service.devstack.process import free_port
from tests.acceptance.servers import Servers, running_servers, serve
from tests.support.workers import worker_environment
from tests.support.world import ISSUER, JWT_SECRET, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOKEN_LIMIT, PUBLIC_LIMIT, TEST_LIMIT = 20, 10, 6
LIMITS = {
    "api_rate_token": f"{TOKEN_LIMIT}/hour",
    "api_rate_public": f"{PUBLIC_LIMIT}/hour",
    "api_rate_test": f"{TEST_LIMIT}/hour",
    "proxy_hops": "1",
}
CAMPAIGNS = "/api/marketing/campaigns"


@pytest.fixture(scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """Everything, with an API without limits, so that the tests can prepare and look."""
    async with running_servers(tmp_path_factory.mktemp("limits"), contacts=10) as running:
        yield running


class Pair:
    """Two API processes with limits, as behind one proxy. Each request goes to the other process."""

    def __init__(self, apis: list[httpx.AsyncClient], internals: list[httpx.AsyncClient]) -> None:
        self._apis = apis
        self._internals = internals
        self._turn = 0

    async def get(self, path: str, *, client: str, token: str | None = None, method: str = "GET") -> httpx.Response:
        """The response to a request from this address. The client has made up an address of its own."""
        self._turn += 1
        headers = {"X-Forwarded-For": f"198.51.100.{self._turn % 250}, {client}"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return await self._apis[self._turn % 2].request(method, path, headers=headers)

    async def allowed(self, path: str, *, client: str, token: str | None = None, times: int) -> int:
        """How many of the requests are not refused. Every refused one says how long to wait."""
        responses = [await self.get(path, client=client, token=token) for _ in range(times)]
        for response in responses:
            assert "ratelimit-policy" in response.headers
            if response.status_code == 429:
                assert response.json()["type"] == "/problems/rate-limited"
                assert 0 < int(response.headers["retry-after"]) <= 3600 * 33 / 32 + 1
        return sum(response.status_code != 429 for response in responses)

    async def metric(self, name: str) -> list[float]:
        texts = [(await internal.get("/metrics")).text for internal in self._internals]
        return [float(line.rpartition(" ")[2]) for text in texts for line in text.splitlines() if line.startswith(name)]

    async def until_local(self, local: bool) -> None:
        """Wait until both processes count alone, or both in Redis. Each request makes a process look."""

        async def both() -> bool:
            for _ in self._apis:
                await self.get("/nowhere", client="203.0.113.250")
            return await self.metric("marketing_api_limits_local ") == [float(local)] * 2

        await until(both)


@asynccontextmanager
async def limited_pair(servers: Servers, folder: Path, **settings: str) -> AsyncIterator[Pair]:
    environment = worker_environment(
        database_url=servers.postgres.url(), redis_url=servers.valkey.url(), smtp_url=servers.relay.url,
        crm_url=servers.crm.url, **{**LIMITS, **settings},
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        clients: list[list[httpx.AsyncClient]] = [[], []]
        for number in range(2):
            ports = (free_port(), free_port())
            await stack.enter_async_context(serve(*ports, environment, folder / f"api-{number}.log"))
            for group, port in zip(clients, ports, strict=True):
                client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30)
                group.append(await stack.enter_async_context(client))
        yield Pair(*clients)


def token(subject: str) -> str:
    return mint_token(
        JWT_SECRET, ISSUER, "marketing",
        subject=subject, org_id=ORG_ID, roles=["ADMIN"], features=["marketing"], lifetime_seconds=3600,
    )  # fmt: skip


async def test_the_limits_hold_with_redis_up_frozen_stopped_and_back(servers: Servers, tmp_path: Path) -> None:
    campaign = await servers.save("CUSTOMER", subject="Limits")
    await servers.post(f"campaigns/{campaign}/launch", 202)
    await servers.until_sent(campaign)
    _, link = servers.links()[0]
    link = httpx.URL(link).path

    async with limited_pair(servers, tmp_path) as pair:
        # Up: both processes share each limit, and a made-up X-Forwarded-For lifts none.
        assert await pair.allowed(CAMPAIGNS, client="203.0.113.1", token=token("ada"), times=30) == TOKEN_LIMIT
        assert await pair.allowed(CAMPAIGNS, client="203.0.113.1", token="made-up", times=20) == PUBLIC_LIMIT
        assert await pair.allowed("/nowhere", client="203.0.113.1", times=2) == 0
        # A valid link still works, from the same address.
        for method in ("HEAD", "GET", "GET", "POST"):
            assert (await pair.get(link, client="203.0.113.1", method=method)).status_code == 200
        # Others have limits of their own.
        assert await pair.allowed(CAMPAIGNS, client="203.0.113.1", token=token("bob"), times=2) == 2
        assert await pair.allowed("/nowhere", client="203.0.113.2", times=2) == 2

        # Frozen: each process counts alone, with the same limits.
        async with servers.without("redis", frozen=True):
            await pair.until_local(local=True)
            assert await pair.allowed(CAMPAIGNS, client="x", token=token("eve"), times=60) == 2 * TOKEN_LIMIT
            assert await pair.allowed("/nowhere", client="203.0.113.3", times=30) == 2 * PUBLIC_LIMIT
            assert (await pair.get(link, client="203.0.113.3")).status_code == 200
        # Back, with what was counted before.
        await pair.until_local(local=False)
        assert await pair.allowed(CAMPAIGNS, client="203.0.113.1", token=token("ada"), times=4) == 0
        assert await pair.allowed(CAMPAIGNS, client="203.0.113.1", token=token("eve"), times=30) == TOKEN_LIMIT

        # Stopped, and back without what was counted: its data is not kept.
        async with servers.without("redis"):
            await pair.until_local(local=True)
            assert await pair.allowed(CAMPAIGNS, client="203.0.113.4", token="made-up", times=30) == 2 * PUBLIC_LIMIT
            assert (await pair.get(link, client="203.0.113.4")).status_code == 200
        await pair.until_local(local=False)
        assert await pair.allowed(CAMPAIGNS, client="203.0.113.1", token=token("ada"), times=30) == TOKEN_LIMIT
        assert sum(await pair.metric('marketing_api_refused_total{limit="token"}')) > 0

    for number in range(2):
        log = (tmp_path / f"api-{number}.log").read_text(encoding="utf-8")
        assert log.count("request_limits_counted_locally") == 2, "said once for each outage"


async def test_the_public_port_serves_nothing_for_operators(servers: Servers) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await servers.api.get(path)).status_code == 404
        assert (await servers.internal.get(path)).status_code == 200
    assert (await servers.internal.get(CAMPAIGNS)).status_code == 404
