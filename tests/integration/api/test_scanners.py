"""Link scanners opt nobody out: they look ahead, ask for headers, and follow every link."""

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
"""It has no divisor in common with the number of ways to look: each comes to every address."""
AT_ONCE = 20

AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
    "Mozilla/5.0",
    "Barracuda Sentinel (EE)",
    "python-requests/2.32",
    "",
)
AHEAD = (
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


def looks(mode: str) -> Iterator[tuple[str, dict[str, str]]]:
    """A method and headers, as scanners send them. In `confirm` mode a plain GET is one more way of looking."""
    ways: list[tuple[str, dict[str, str]]] = [("HEAD", {}), *(("GET", ahead) for ahead in AHEAD)]
    ways += [("HEAD", ahead) for ahead in AHEAD[:2]]
    if mode == "confirm":
        ways.append(("GET", {}))
    for (method, headers), agent in product(ways, AGENTS):
        yield method, headers | {"User-Agent": agent}


@pytest.mark.parametrize("mode", ["act", "confirm"])
async def test_however_often_scanners_look_nobody_is_opted_out(
    resources: Resources, owner: Database, request: pytest.FixtureRequest, mode: str
) -> None:
    requests = FULL if request.config.getoption("--full") else QUICK
    campaign_id = await launched(owner, SENDS)
    addresses = [
        f"/api/marketing/unsubscribe/{resources.tokens.issue(Purpose.UNSUBSCRIBE, row['id'])}"
        for row in await send_rows(owner, campaign_id)
    ]
    settings = resources.settings.model_copy(update={"unsubscribe_get": mode})
    app = create_app(dataclasses.replace(resources, settings=settings))
    # Half of them in each mode.
    visits = list(islice(zip(cycle(addresses), cycle(looks(mode)), strict=False), requests // 2))

    async with client_of(app, None) as client:

        async def look(some: list[tuple[str, tuple[str, dict[str, str]]]]) -> set[int]:
            answers: list[httpx.Response] = []
            for address, (method, headers) in some:
                answers.append(await client.request(method, address, headers=headers))
                assert "You are unsubscribed" not in answers[-1].text
            return {answer.status_code for answer in answers}

        statuses = await asyncio.gather(*(look(visits[n::AT_ONCE]) for n in range(AT_ONCE)))
        assert set().union(*statuses) == {200}
        assert await opted_out(owner) == (0, 0)
        # The one who means it is heard.
        assert (await client.post(addresses[0])).status_code == 200
        assert await opted_out(owner) == (1, 1)


async def opted_out(owner: Database) -> tuple[int, int]:
    """Addresses that have opted out, and sends that say so."""
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
