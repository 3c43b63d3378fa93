"""The expansion: a launched campaign gets its complete recipient list, or none and a reason."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.responses import Response

from marketing_service.db import Database
from marketing_service.launching import Expander
from marketing_service.ledger import lifecycle
from marketing_service.ports import Audience, AudienceType
from marketing_service.sending import BatchEnqueuer, Messages
from tests.support.ledger import assert_adds_up, campaign_row, send_rows
from tests.support.world import World, open_world

if TYPE_CHECKING:
    from starlette.requests import Request


def expander(world: World, *, time_limit: float = 60.0) -> Expander:
    resources = world.worker
    return Expander(
        resources.transactions,
        audience=resources.audience,
        messages=Messages(resources.transactions, public_base_url=world.settings.public_base_url),
        enqueuer=BatchEnqueuer(resources.transactions, resources.job_queue, window=8, requeue_after=30.0),
        relay_configured=resources.mailer is not None,
        time_limit=time_limit,
        lease=60.0,
    )


async def test_an_audience_by_status_has_only_contacts_with_that_status(world: World) -> None:
    campaign_id = await world.launch(Audience(AudienceType.BY_STATUS, ("CUSTOMER",)))
    await expander(world).expand(campaign_id)
    chosen = {row["contact_id"] for row in await send_rows(world.owner, campaign_id)}
    pages = [page async for page in world.worker.audience.pages(world.org_id, Audience())]
    customers = {c.id for page in pages for c in page.contacts if c.status == "CUSTOMER"}
    assert chosen == customers != set()
    assert len(customers) < sum(len(page.contacts) for page in pages)


async def test_after_a_failure_on_one_page_there_are_no_rows_and_the_next_attempt_expands_all(
    world: World,
) -> None:
    seen = 0

    async def fail_on_the_third_page(request: Request) -> Response | None:
        nonlocal seen
        if request.url.path.endswith("/contacts"):
            seen += 1
            if seen >= 3:
                return Response(status_code=500)
        return None

    world.crm.fault = fail_on_the_third_page
    campaign_id = await world.launch()
    await expander(world).expand(campaign_id)
    row = await campaign_row(world.owner, campaign_id)
    assert (row["status"], row["expanded_at"], row["recipients"]) == ("SENDING", None, 0)
    assert await send_rows(world.owner, campaign_id) == []
    world.crm.up()
    await expander(world).expand(campaign_id)
    assert (await assert_adds_up(world.owner, campaign_id))["recipients"] > 20


async def test_a_crm_that_is_down_beyond_the_time_limit_fails_the_launch(world: World) -> None:
    world.crm.down()
    campaign_id = await world.launch()
    await expander(world, time_limit=0.0).expand(campaign_id)
    row = await campaign_row(world.owner, campaign_id)
    assert (row["status"], row["failure_code"]) == ("FAILED", "CRM_UNAVAILABLE")


async def test_a_refusal_by_the_crm_fails_the_launch_at_once_with_the_reason(world: World) -> None:
    async def forbid(_: Request) -> Response:
        return Response(status_code=403)

    world.crm.fault = forbid
    campaign_id = await world.launch()
    await expander(world).expand(campaign_id)
    row = await campaign_row(world.owner, campaign_id)
    assert (row["status"], row["failure_code"]) == ("FAILED", "CRM_REFUSED")
    assert "403" in row["failure_message"]


async def test_a_status_that_the_crm_no_longer_has_fails_the_launch(world: World) -> None:
    campaign_id = await world.launch(Audience(AudienceType.BY_STATUS, ("CUSTOMER", "VANISHED")))
    await expander(world).expand(campaign_id)
    row = await campaign_row(world.owner, campaign_id)
    assert (row["status"], row["failure_code"]) == ("FAILED", "STATUS_UNKNOWN")
    assert "VANISHED" in row["failure_message"]


async def test_without_a_relay_a_launch_fails_with_that_reason(
    owner: Database, database_url: str, redis_url: str
) -> None:
    async with open_world(owner, database_url, redis_url, smtp_url="") as world:
        campaign_id = await world.launch()
        async with world.working():
            row = await world.until_status(campaign_id, "FAILED")
    assert row["failure_code"] == "SMTP_NOT_CONFIGURED"


async def test_a_hundred_expansions_at_once_make_one_list(world: World, database_url: str) -> None:
    """All of them share a few connections, so on a busy machine the last one waits long for its turn."""
    database = Database(database_url, role="marketing_worker", connect_timeout=60)
    patient = replace(world, worker=replace(world.worker, transactions=database.transaction))
    campaign_id = await world.launch()
    async with asyncio.TaskGroup() as expanding:
        for _ in range(100):
            expanding.create_task(expander(patient).expand(campaign_id))
    await database.close()
    row = await campaign_row(world.owner, campaign_id)
    assert row["expansion_epoch"] == 1
    assert (await assert_adds_up(world.owner, campaign_id))["recipients"] > 20


async def test_a_launch_cancelled_during_its_expansion_gets_no_rows(world: World) -> None:
    campaign_id = await world.launch()

    async def cancel(request: Request) -> None:
        if "cursor" in str(request.url):
            async with world.api.transactions(world.org_id) as tx:
                await lifecycle.cancel(tx.connection, campaign_id)

    world.crm.fault = cancel
    await expander(world).expand(campaign_id)
    row = await campaign_row(world.owner, campaign_id)
    assert (row["status"], row["recipients"], row["expanded_at"]) == ("SENT", 0, None)


async def test_a_list_without_an_end_fails_the_launch_at_the_time_limit(world: World) -> None:
    world.crm.without_an_end()
    campaign_id = await world.launch()
    await asyncio.wait_for(expander(world, time_limit=1.0).expand(campaign_id), 60)
    row = await campaign_row(world.owner, campaign_id)
    assert (row["status"], row["failure_code"]) == ("FAILED", "CRM_UNAVAILABLE")
    assert "did not end within" in row["failure_message"]
    assert await send_rows(world.owner, campaign_id) == []
    assert len(world.crm.requests) > 2
