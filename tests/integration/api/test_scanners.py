"""Link scanners do not opt recipients out: they prefetch, send HEAD requests, and follow every link."""

from __future__ import annotations

import asyncio
import dataclasses
from itertools import cycle, islice, product
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from marketing_service.api.app import create_app
from marketing_service.tokens import Purpose
from tests.integration.api.support import client_of
from tests.support.ledger import launched, send_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from marketing_service.bootstrap import Resources
    from marketing_service.db import Database

FULL, QUICK = 10_000, 500
SENDS = 19
"""Has no common divisor with the number of request kinds, so that every kind is sent to every address."""
AT_ONCE = 20

AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
    "Mozilla/5.0",
    "Barracuda Sentinel (EE)",
    "python-requests/2.32",
    "",
)
PREFETCH = (
    {"Sec-Purpose": "prefetch"},
    {"Sec-Purpose": "prefetch;prerender"},
    {"Sec-Purpose": "prefetch;anonymous-client-ip"},
    {"sec-purpose": "PREFETCH ; prerender"},
    {"Purpose": "prefetch"},
    {"Purpose": "Preview"},
    {"X-Purpose": "preview"},
    {"X-Moz": "prefetch"},
    {"X-moz": " Prefetch "},
)


def scanner_requests(mode: str) -> Iterator[tuple[str, dict[str, str]]]:
    """A method and headers, as scanners send them. In `confirm` mode a plain GET is one more kind."""
    ways: list[tuple[str, dict[str, str]]] = [("HEAD", {}), *(("GET", ahead) for ahead in PREFETCH)]
    ways += [("HEAD", ahead) for ahead in PREFETCH[:2]]
    if mode == "confirm":
        ways.append(("GET", {}))
    for (method, headers), agent in product(ways, AGENTS):
        yield method, headers | {"User-Agent": agent}


@pytest.mark.parametrize("mode", ["act", "confirm"])
async def test_requests_of_scanners_opt_nobody_out(
    resources: Resources, owner: Database, request: pytest.FixtureRequest, mode: str
) -> None:
    requests = FULL if request.config.getoption("--full") else QUICK
    campaign_id = await launched(owner, SENDS)
    addresses = [
        f"/api/marketing/unsubscribe/{resources.tokens.issue(Purpose.UNSUBSCRIBE, row['id'])}"
        for row in await send_rows(owner, campaign_id)
    ]
    rules = dataclasses.replace(resources.api_rules, confirm_unsubscribe=mode == "confirm")
    app = create_app(dataclasses.replace(resources, api_rules=rules))
    # Half of the requests in each mode.
    visits = list(islice(zip(cycle(addresses), cycle(scanner_requests(mode)), strict=False), requests // 2))

    async with client_of(app, None) as client:

        async def visit(some: list[tuple[str, tuple[str, dict[str, str]]]]) -> set[int]:
            responses: list[httpx.Response] = []
            for address, (method, headers) in some:
                responses.append(await client.request(method, address, headers=headers))
                assert "You are unsubscribed" not in responses[-1].text
            return {response.status_code for response in responses}

        statuses = await asyncio.gather(*(visit(visits[n::AT_ONCE]) for n in range(AT_ONCE)))
        assert set().union(*statuses) == {200}
        assert await opted_out(owner) == (0, 0)
        # A real opt-out works.
        assert (await client.post(addresses[0])).status_code == 200
        assert await opted_out(owner) == (1, 1)


async def opted_out(owner: Database) -> tuple[int, int]:
    """The number of opted-out addresses, and of sends that are marked so."""
    async with owner.transaction() as tx:
        row = (
            await tx.connection.execute(
                text(
                    "SELECT (SELECT count(*) FROM marketing_opt_outs),"
                    " (SELECT count(*) FROM marketing_sends WHERE unsubscribed_at IS NOT NULL OR status = 'SKIPPED')"
                )
            )
        ).one()
    return row[0], row[1]
