"""A launch of a message that is larger than the relay accepts."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from marketing_service.api.app import create_app
from marketing_service.store import preflights
from marketing_service.store.preflights import PreflightReport
from tests.integration.api.support import assert_problem, client_of, path, saved, token
from tests.support.relay import Relay
from tests.support.world import open_mailer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from marketing_service.bootstrap import Resources
    from marketing_service.db import Database


@asynccontextmanager
async def user_with_relay(resources: Resources, relay: Relay) -> AsyncIterator[httpx.AsyncClient]:
    """A user of an API that knows the relay."""
    async with open_mailer(relay.url) as mailer:
        app = create_app(dataclasses.replace(resources, mailer=mailer), response_seconds=60)
        async with client_of(app, token()) as client:
            yield client


async def status_of(user: httpx.AsyncClient, campaign: dict[str, Any]) -> str:
    return str((await user.get(path(campaign))).json()["status"])


async def test_it_is_refused_with_one_reason_and_stays_a_draft(resources: Resources) -> None:
    async with Relay(size=1_000) as relay, user_with_relay(resources, relay) as user:
        campaign = await saved(user, htmlBody="<p>" + "x" * 5_000)
        problem = assert_problem(await user.post(path(campaign, "/launch")), 422, "invalid-input", "htmlBody")
        (error,) = problem["errors"]
        assert error["code"] == "message-too-large"
        assert "at most 1,000 (" in error["message"]
        assert await status_of(user, campaign) == "DRAFT"
        relay.size = 1_000_000
        assert (await user.post(path(campaign, "/launch"))).status_code == 202, "the relay was asked again"


async def test_force_launches_it_without_asking_the_relay(resources: Resources) -> None:
    async with Relay(size=100) as relay, user_with_relay(resources, relay) as user:
        response = await user.post(path(await saved(user), "/launch"), json={"force": True})
        assert (response.status_code, relay.connections) == (202, 0)


async def test_a_relay_that_cannot_be_asked_now_refuses_nothing(resources: Resources) -> None:
    async with Relay(size=100) as relay, user_with_relay(resources, relay) as user:
        relay.stall()
        assert (await user.post(path(await saved(user), "/launch"))).status_code == 202
        await relay.stop()
        assert (await user.post(path(await saved(user), "/launch"))).status_code == 202


async def test_without_a_limit_or_a_relay_it_is_launched(resources: Resources, admin: httpx.AsyncClient) -> None:
    async with Relay(size=None) as relay, user_with_relay(resources, relay) as user:
        assert (await user.post(path(await saved(user), "/launch"))).status_code == 202
    assert (await admin.post(path(await saved(admin), "/launch"))).status_code == 202


async def checked(owner: Database, user: httpx.AsyncClient, campaign: dict[str, Any], octets: int) -> None:
    """Finish a preflight that saw a message of this size, when the relay's limit was higher."""
    await user.post(path(campaign, "/check"))
    async with owner.transaction() as tx:
        attempt = await preflights.claim_preflight(tx.connection, UUID(campaign["id"]), lease=60)
        assert attempt is not None
        report = PreflightReport(0, 0, 0, 0, 10, None, (), largest_octets=octets, eight_bit=True)
        assert await preflights.finish_preflight(tx.connection, attempt, report)


async def test_the_largest_message_that_the_check_of_this_version_saw_counts(
    resources: Resources, owner: Database
) -> None:
    async with Relay(size=50_000) as relay, user_with_relay(resources, relay) as user:
        campaign = await saved(user)
        await checked(owner, user, campaign, 60_000)
        problem = assert_problem(await user.post(path(campaign, "/launch")), 422, "invalid-input", "htmlBody")
        assert "60,000 octets" in problem["detail"]
        changed = (await user.patch(path(campaign), json={"subject": "Shorter"})).json()
        assert changed["version"] == 2
        assert (await user.post(path(campaign, "/launch"))).status_code == 202, "the check was of another version"


async def test_a_size_that_was_measured_for_another_kind_of_relay_does_not_count(
    resources: Resources, owner: Database
) -> None:
    async with Relay(size=50_000, eight_bit=False) as relay, user_with_relay(resources, relay) as user:
        campaign = await saved(user)
        await checked(owner, user, campaign, 60_000)
        assert (await user.post(path(campaign, "/launch"))).status_code == 202


async def test_many_launches_at_a_time_ask_the_relay_one_after_the_other(resources: Resources) -> None:
    async with Relay(size=100) as relay, user_with_relay(resources, relay) as user:
        campaigns = [await saved(user) for _ in range(5)]
        responses = await asyncio.gather(*(user.post(path(campaign, "/launch")) for campaign in campaigns))
        assert {response.status_code for response in responses} == {422}
