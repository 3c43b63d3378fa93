"""The preflight over HTTP (the path is /check): request it, read it, and its effect on a launch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text

from marketing_service.rendering import Finding, Severity
from marketing_service.store import preflights
from marketing_service.store.preflights import PreflightReport
from tests.integration.api.support import assert_problem, path, saved

if TYPE_CHECKING:
    import httpx

    from marketing_service.bootstrap import Resources
    from marketing_service.db import Database

MISSING = Finding("MISSING_VALUE", Severity.WARNING, "3 contacts would get no firstName.", "firstName", count=3)
EMPTY = Finding("RENDERS_EMPTY", Severity.ERROR, "For 1 contact it would be empty.", "htmlBody", line=2, count=1)


async def report(owner: Database, campaign: dict[str, Any], *findings: Finding) -> None:
    """Finish the requested preflight with this report."""
    async with owner.transaction() as tx:
        attempt = await preflights.claim_preflight(tx.connection, UUID(campaign["id"]), lease=60)
        assert attempt is not None
        assert await preflights.count_fetched(tx.connection, attempt, fetched=20, expected=20, lease=60)
        found = PreflightReport(
            opted_out=1,
            without_address=2,
            malformed=3,
            suppressed=5,
            duplicates=4,
            recipients=10,
            estimated_seconds=0.5,
            findings=findings,
        )
        assert await preflights.finish_preflight(tx.connection, attempt, found)


async def test_a_preflight_is_requested_and_then_read(
    admin: httpx.AsyncClient, viewer: httpx.AsyncClient, owner: Database, resources: Resources
) -> None:
    campaign = await saved(admin)
    assert_problem(await viewer.get(path(campaign, "/check")), 404, "not-found")
    response = await admin.post(path(campaign, "/check"))
    assert response.status_code == 202
    asked = response.json()
    assert (asked["status"], asked["version"], asked["stale"], asked["report"]) == ("RUNNING", 1, False, None)
    assert asked["progress"] == {"fetched": 0, "expected": None}
    assert any(
        f"preflight:{campaign['id']}" in key.decode() for key in await resources.job_queue._redis.keys("arq:job:*")
    )
    await report(owner, campaign, EMPTY, MISSING)
    check = (await viewer.get(path(campaign, "/check"))).json()
    assert (check["status"], check["progress"], check["failure"]) == ("DONE", {"fetched": 20, "expected": 20}, None)
    assert check["finishedAt"]
    assert check["report"] == {
        "recipients": 10,
        "optedOut": 1,
        "withoutAddress": 2,
        "malformed": 3,
        "suppressed": 5,
        "duplicates": 4,
        "estimatedSeconds": 0.5,
        "largestOctets": None,
        "findings": [
            {
                "code": "RENDERS_EMPTY",
                "severity": "error",
                "message": "For 1 contact it would be empty.",
                "place": "htmlBody",
                "line": 2,
                "count": 1,
            },
            {
                "code": "MISSING_VALUE",
                "severity": "warning",
                "message": "3 contacts would get no firstName.",
                "place": "firstName",
                "line": None,
                "count": 3,
            },
        ],
    }


async def test_a_second_request_changes_nothing_while_it_runs_and_starts_again_afterwards(
    admin: httpx.AsyncClient, owner: Database
) -> None:
    campaign = await saved(admin)
    responses = await asyncio.gather(*(admin.post(path(campaign, "/check")) for _ in range(5)))
    assert {response.status_code for response in responses} == {202}
    async with owner.transaction() as tx:
        row = (await tx.connection.execute(text("SELECT * FROM marketing_preflights"))).mappings().one()
    assert (row["epoch"], row["requested_by"], row["org_id"]) == (0, "ada", "acme")
    await report(owner, campaign, EMPTY)
    again = (await admin.post(path(campaign, "/check"))).json()
    assert (again["status"], again["report"]) == ("RUNNING", None)


async def test_a_report_belongs_to_one_version(admin: httpx.AsyncClient, owner: Database) -> None:
    campaign = await saved(admin)
    await admin.post(path(campaign, "/check"))
    await report(owner, campaign, EMPTY)
    await admin.patch(path(campaign), json={"subject": "Better"})
    check = (await admin.get(path(campaign, "/check"))).json()
    assert (check["version"], check["stale"], check["status"]) == (1, True, "DONE")
    assert (await admin.post(path(campaign, "/launch"))).status_code == 202


async def test_a_launch_of_a_version_with_errors_is_refused_unless_forced(
    admin: httpx.AsyncClient, owner: Database
) -> None:
    campaign = await saved(admin)
    await admin.post(path(campaign, "/check"))
    await report(owner, campaign, EMPTY, MISSING)
    for body in (None, {}, {"force": False}, {"audience": {"type": "ALL"}}):
        assert_problem(await admin.post(path(campaign, "/launch"), json=body), 409, "check-found-errors")
    assert (await admin.get(path(campaign))).json() == campaign
    assert (await admin.post(path(campaign, "/launch"), json={"force": True})).json()["status"] == "SENDING"


async def test_warnings_and_running_preflights_do_not_block_a_launch(admin: httpx.AsyncClient, owner: Database) -> None:
    warned = await saved(admin)
    await admin.post(path(warned, "/check"))
    await report(owner, warned, MISSING)
    assert (await admin.post(path(warned, "/launch"))).status_code == 202
    running = await saved(admin)
    await admin.post(path(running, "/check"))
    assert (await admin.post(path(running, "/launch"))).status_code == 202


async def test_only_a_draft_that_can_be_launched_is_checked(
    admin: httpx.AsyncClient, viewer: httpx.AsyncClient
) -> None:
    campaign = await saved(admin, htmlBody=None)
    assert_problem(await admin.post(path(campaign, "/check")), 422, "invalid-input", "htmlBody")
    assert_problem(await viewer.post(path(campaign, "/check")), 403, "role")
    await admin.patch(path(campaign), json={"textBody": "Hello"})
    await admin.post(path(campaign, "/launch"))
    assert_problem(await admin.post(path(campaign, "/check")), 409, "wrong-state")


async def test_deleting_a_campaign_deletes_its_preflight(admin: httpx.AsyncClient, owner: Database) -> None:
    campaign = await saved(admin)
    await admin.post(path(campaign, "/check"))
    assert (await admin.delete(path(campaign))).status_code == 204
    async with owner.transaction() as tx:
        assert (await tx.connection.execute(text("SELECT count(*) FROM marketing_preflights"))).scalar_one() == 0
