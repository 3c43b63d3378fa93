"""The timeline: buckets without gaps from the launch on, with the same sums as `stats`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, text

from marketing_service.store.clicks import write_links
from marketing_service.store.tables import timeline
from marketing_service.tokens import Purpose
from tests.integration.api.support import assert_problem, path, saved
from tests.support.ledger import ORG, draft, launched, send_rows
from tests.support.steps import deliver_all

if TYPE_CHECKING:
    from uuid import UUID

    import httpx

    from marketing_service.bootstrap import Resources
    from marketing_service.db import Database

START = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)
EVENTS = ("delivered", "opens", "clicks", "unsubscribes")


async def happened(owner: Database, *minutes: int) -> UUID:
    """A campaign that was launched in the minute START. Each of these later minutes has one event of every kind."""
    campaign_id = await draft(owner, status="SENT", launched_at=START + timedelta(seconds=42))
    rows = [
        {"org_id": ORG, "campaign_id": campaign_id, "minute": START + timedelta(minutes=minute)}
        | dict.fromkeys(EVENTS, 1)
        for minute in minutes
    ]
    async with owner.transaction() as tx:
        if rows:
            await tx.connection.execute(insert(timeline), rows)
    return campaign_id


async def read(admin: httpx.AsyncClient, campaign_id: Any, **query: Any) -> dict[str, Any]:
    response = await admin.get(path(campaign_id, "/timeline"), params=query)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    starts = [datetime.fromisoformat(item["at"]) for item in found["items"]]
    step = timedelta(seconds=found["bucketSeconds"])
    assert starts == [datetime.fromisoformat(found["from"]) + step * n for n in range(len(starts))]
    return found


async def test_before_the_launch_there_is_none(admin: httpx.AsyncClient) -> None:
    campaign = await saved(admin)
    response = await admin.get(path(campaign, "/timeline"))
    assert response.json() == {"from": None, "bucketSeconds": 60, "items": []}


async def test_after_the_launch_there_is_one_bucket_even_without_events(
    admin: httpx.AsyncClient, owner: Database
) -> None:
    found = await read(admin, await happened(owner))
    assert found["from"] == "2026-05-04T09:30:00Z"
    assert found["items"] == [{"at": "2026-05-04T09:30:00Z"} | dict.fromkeys(EVENTS, 0)]


@pytest.mark.parametrize(
    ("last", "buckets", "seconds", "count"),
    [
        (59, 60, 60, 60),
        (60, 60, 300, 13),
        (60, 61, 60, 61),
        (5 * 60 - 1, 60, 300, 60),
        (24 * 60, 60, 3600, 25),
        (90 * 24 * 60, 60, 604_800, 13),
        (90 * 24 * 60, 500, 21_600, 361),
        (0, 1, 60, 1),
        (1, 1, 300, 1),
        # Even weeks are too short.
        (21 * 24 * 60, 1, 604_800, 4),
    ],
)
async def test_buckets_are_the_smallest_that_fit_and_have_no_gap(
    admin: httpx.AsyncClient, owner: Database, last: int, buckets: int, seconds: int, count: int
) -> None:
    campaign_id = await happened(owner, *sorted({0, last // 2, last}))
    found = await read(admin, campaign_id, buckets=buckets)
    assert (found["bucketSeconds"], len(found["items"])) == (seconds, count)
    for name in EVENTS:
        assert sum(item[name] for item in found["items"]) == len({0, last // 2, last})
    assert found["items"][-1]["clicks"] >= 1


async def test_its_sums_are_equal_to_the_stats(
    admin: httpx.AsyncClient, anonymous: httpx.AsyncClient, owner: Database, resources: Resources
) -> None:
    campaign_id = await launched(owner, 5, track_clicks=True)
    async with owner.transaction() as tx:
        await write_links(tx.connection, org_id=ORG, campaign_id=campaign_id, urls=["https://a.example"])
    await deliver_all(owner, campaign_id)
    async with owner.transaction() as tx:
        await tx.connection.execute(text("UPDATE marketing_sends SET sent_at = sent_at - interval '1 minute'"))
    browser = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"}
    rows = await send_rows(owner, campaign_id)
    for purpose, count, address in (
        (Purpose.OPEN, 4, "pixel/{}.gif"),
        (Purpose.CLICK, 3, "click/{}/1"),
        (Purpose.UNSUBSCRIBE, 2, "unsubscribe/{}"),
    ):
        for row in rows[:count] * 2:
            token = resources.tokens.issue(purpose, row["id"])
            # A person who opts out right after a click has pressed the button.
            method = "POST" if purpose is Purpose.UNSUBSCRIBE else "GET"
            response = await anonymous.request(method, "/api/marketing/" + address.format(token), headers=browser)
            assert response.status_code < 400
    stats = (await admin.get(path(campaign_id, "/stats"))).json()
    found = await read(admin, campaign_id)
    sums = {name: sum(item[name] for item in found["items"]) for name in EVENTS}
    assert (
        sums == {name: stats[name] for name in EVENTS} == {"delivered": 5, "opens": 4, "clicks": 3, "unsubscribes": 2}
    )


@pytest.mark.parametrize("buckets", ["0", "501", "x", "-1", ""])
async def test_its_buckets_have_limits(admin: httpx.AsyncClient, owner: Database, buckets: str) -> None:
    response = await admin.get(path(await happened(owner), "/timeline"), params={"buckets": buckets})
    assert_problem(response, 422, "invalid-input", "buckets")


async def test_another_organisation_sees_none(stranger: httpx.AsyncClient, owner: Database) -> None:
    assert_problem(await stranger.get(path(await happened(owner, 1), "/timeline")), 404, "not-found")


async def test_no_send_is_read_for_it(admin: httpx.AsyncClient, owner: Database) -> None:
    """Then the cost does not grow with the number of sends."""
    campaign_id = await happened(owner, 0, 1)
    async with owner.transaction() as tx:
        await tx.connection.execute(text("REVOKE SELECT ON marketing_sends FROM marketing_api"))
    assert len((await read(admin, campaign_id))["items"]) == 2
