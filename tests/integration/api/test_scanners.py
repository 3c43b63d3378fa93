"""Scanners do not opt recipients out, and people do with one click. `scanners.toml` lists how scanners behave."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from marketing_service.api.app import create_app
from marketing_service.tracking import machine_rules
from tests.integration.api.recipients import ASK, BROWSER, CONFIRMED, assert_page, delivered, mailed, opted_out
from tests.integration.api.support import client_of

if TYPE_CHECKING:
    import httpx

    from marketing_service.bootstrap import Resources
    from marketing_service.db import Database
    from tests.integration.api.recipients import Recipient


TABLE = tomllib.loads(Path(__file__).with_name("scanners.toml").read_text(encoding="utf-8"))
BROWSERS: list[str] = TABLE["browsers"]
FULL, QUICK = 10_000, 1_000
SENDS = 100
AT_ONCE = 8
SOON, TOGETHER = machine_rules().soon.seconds, machine_rules().together.seconds
REQUESTS = {
    "pixel": ("GET", "pixel", BROWSER),
    "click": ("GET", "click", BROWSER),
    "head of click": ("HEAD", "click", BROWSER),
    "head of pixel": ("HEAD", "pixel", BROWSER),
    "click by a scanner": ("GET", "click", {"User-Agent": "Barracuda Sentinel (EE)"}),
}


class Visit(NamedTuple):
    """One program requests the unsubscribe link."""

    shape: dict[str, Any]
    method: str
    headers: dict[str, str]

    @classmethod
    def drawn(cls, dice: random.Random) -> Visit:
        shape = dice.choice(TABLE["shape"])
        headers = {"User-Agent": dice.choice(shape.get("agents", BROWSERS))}
        headers |= dice.choice(shape.get("headers", [{}]))
        if "network" in shape:
            headers["X-Forwarded-For"] = dice.choice(shape["network"])
        return cls(shape, shape.get("method", "GET"), headers)

    @property
    def limit(self) -> float:
        """Seconds within which the program must be done. A busy machine may be too slow to behave like it."""
        return min(SOON if "when" in self.shape else 3600.0, TOGETHER if "before" in self.shape else 3600.0)


async def visited(client: httpx.AsyncClient, owner: Database, recipient: Recipient, visit: Visit) -> bool:
    """Make the requests of the visit. False if the machine was too slow for it."""
    started = time.monotonic()
    if "when" in visit.shape:
        await delivered(owner, recipient.send_id, ago="0 seconds")
    for name in visit.shape.get("before", ()):
        started = time.monotonic()
        method, what, headers = REQUESTS[name]
        response = await client.request(method, getattr(recipient, what), headers=headers)
        assert response.status_code in {200, 302}
    response = await client.request(visit.method, recipient.unsubscribe, headers=visit.headers)
    if time.monotonic() - started >= visit.limit:
        return False
    assert response.status_code == 200
    assert visit.method == "HEAD" or ASK in response.text, (visit, response.text)
    return True


@pytest.mark.parametrize("mode", ["act", "confirm"])
async def test_requests_of_scanners_opt_nobody_out(
    resources: Resources, owner: Database, request: pytest.FixtureRequest, mode: str
) -> None:
    count = (FULL if request.config.getoption("--full") else QUICK) // 2
    dice = random.Random(mode)
    rules = dataclasses.replace(resources.api_rules, confirm_unsubscribe=mode == "confirm", proxy_hops=1)
    app = create_app(dataclasses.replace(resources, api_rules=rules), response_seconds=60)
    free = await mailed(owner, resources.tokens, SENDS)
    left = [Visit.drawn(dice) for _ in range(count)]
    drawn = {visit.shape["name"] for visit in left}
    slow: set[str] = set()
    again: list[Visit] = []
    done = 0

    async def visit_all(client: httpx.AsyncClient, visits: list[Visit]) -> None:
        nonlocal done
        while visits:
            visit, recipient = visits.pop(), free.pop()
            if await visited(client, owner, recipient, visit):
                done += 1
            else:
                again.append(visit)
                if recipient.address in await opted_out(owner):  # so late, it looked like a person
                    slow.add(recipient.address)
                    continue
            if "when" in visit.shape or "before" in visit.shape:
                await delivered(owner, recipient.send_id, ago="1 hour")
            free.append(recipient)

    async with client_of(app, None) as client:
        async with asyncio.TaskGroup() as visitors:
            for _ in range(AT_ONCE):
                visitors.create_task(visit_all(client, left))
        while again:  # one at a time, because the machine is too slow for more
            left, again = again, []
            await visit_all(client, left)
        assert done == count
        assert drawn == {shape["name"] for shape in TABLE["shape"]}
        assert await opted_out(owner) <= slow
        # A person opts out: at once, or with the button.
        person = free.pop()
        assert_page(await client.get(person.unsubscribe, headers=BROWSER), 200, ASK if mode == "confirm" else CONFIRMED)
        assert_page(await client.post(person.unsubscribe, headers=BROWSER), 200, CONFIRMED)
        assert person.address in await opted_out(owner)


def test_every_shape_has_a_name_of_its_own_and_a_source() -> None:
    names = [shape["name"] for shape in TABLE["shape"]]
    assert len(names) == len(set(names)) > 20
    assert all(len(shape["source"]) > 10 for shape in TABLE["shape"])
