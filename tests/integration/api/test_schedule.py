"""Scheduling a draft over HTTP: the times that are taken and refused, and what else ends a schedule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from marketing_service.store import schedules
from tests.integration.api.acts import entries
from tests.integration.api.support import assert_problem, path, saved
from tests.support.ledger import launched

if TYPE_CHECKING:
    import httpx

    from marketing_service.db import Database

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
NOT_IN_A_DRAFT = {"scheduledAt": None, "scheduledTimeZone": None, "scheduleProblem": None}


def in_hours(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


def schedule_of(campaign: dict[str, Any]) -> dict[str, Any]:
    return {name: campaign[name] for name in NOT_IN_A_DRAFT}


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's clock says that it is 2026-11-27 12:00 UTC."""
    clock = text(
        f"SELECT CAST('{NOW}' AS timestamptz) AS now, CAST('{NOW}' AS timestamptz) + interval '1 year' AS in_a_year"
    )
    monkeypatch.setattr(schedules, "_CLOCK", clock)


@pytest.mark.usefixtures("at_noon")
@pytest.mark.parametrize(
    ("body", "at", "zone"),
    [
        ({"at": "2026-12-01T09:00:00+01:00"}, "2026-12-01T08:00:00Z", None),
        ({"at": "2026-12-01T09:00:00Z", "timeZone": None}, "2026-12-01T09:00:00Z", None),
        ({"at": "2026-12-01T09:00:00", "timeZone": "Europe/London"}, "2026-12-01T09:00:00Z", "Europe/London"),
        ({"at": "2027-06-01T09:00", "timeZone": "Europe/London"}, "2027-06-01T08:00:00Z", "Europe/London"),
        # The clocks show it twice: the first one is meant.
        ({"at": "2027-10-31T01:30:00", "timeZone": "Europe/London"}, "2027-10-31T00:30:00Z", "Europe/London"),
        ({"at": "2027-11-27T12:00:00Z"}, "2027-11-27T12:00:00Z", None),
        ({"at": "2026-11-27T12:00:00.000001Z"}, "2026-11-27T12:00:00.000001Z", None),
    ],
)
async def test_a_draft_is_scheduled_and_stays_a_draft(
    admin: httpx.AsyncClient, body: dict[str, Any], at: str, zone: str | None
) -> None:
    campaign = await saved(admin)
    response = await admin.post(path(campaign, "/schedule"), json=body)
    scheduled = response.json()
    assert response.status_code == 200, response.text
    assert response.headers["etag"] == '"2"'
    assert schedule_of(scheduled) == {"scheduledAt": at, "scheduledTimeZone": zone, "scheduleProblem": None}
    assert scheduled["status"] == "DRAFT"
    assert (await admin.get(path(campaign))).json() == scheduled
    assert (await admin.get("/api/marketing/campaigns")).json()["items"] == [scheduled]


@pytest.mark.usefixtures("at_noon")
@pytest.mark.parametrize(
    ("body", "field", "code", "says"),
    [
        ({"at": "2026-11-27T12:00:00Z"}, "at", "out-of-range", "future"),
        ({"at": "2026-11-27T11:59:00", "timeZone": "UTC"}, "at", "out-of-range", "future"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "at", "out-of-range", "future"),
        ({"at": "0001-01-01T00:00:00", "timeZone": "Pacific/Kiritimati"}, "at", "out-of-range", "future"),
        ({"at": "2027-11-27T12:00:00.000001Z"}, "at", "out-of-range", "2027-11-27T12:00:00+00:00"),
        ({"at": "9999-12-31T23:59:59-14:00"}, "at", "out-of-range", "a year ahead"),
        (
            {"at": "2027-03-28T01:30:00", "timeZone": "Europe/London"},
            "at",
            "no-such-local-time",
            "2027-03-28T02:00:00.",
        ),
        ({"at": "2026-12-01T09:00:00"}, "timeZone", "required", "Europe/London"),
        ({"at": "2026-12-01T09:00:00Z", "timeZone": "Europe/London"}, "timeZone", "time-zone", "left out"),
        ({"at": "2026-12-01T09:00:00", "timeZone": "europe/london"}, "timeZone", "time-zone", "Use Europe/London?"),
        ({"at": "2026-12-01T09:00:00", "timeZone": "../../x"}, "timeZone", "time-zone", "such as"),
        ({"at": "2026-12-01T09:00:00", "timeZone": "x" * 65}, "timeZone", "too-long", "64"),
        ({"at": "2026-12-01T09:00:00", "timeZone": 1}, "timeZone", "type", "string"),
        ({"at": "2026-02-30T09:00:00Z"}, "at", "type", "such as 2026-12-01T09:00:00+01:00"),
        ({"at": "2026-12-01"}, "at", "type", "such as"),
        ({"at": 1_800_000_000}, "at", "type", "such as"),
        ({"at": None}, "at", "type", "such as"),
        ({}, "at", "required", "required"),
        ({"at": "2026-12-01T09:00:00Z", "zone": "UTC"}, "zone", "unknown", "not a field"),
    ],
)
async def test_another_time_is_refused_with_what_would_be_right(
    admin: httpx.AsyncClient, body: dict[str, Any], field: str, code: str, says: str
) -> None:
    campaign = await saved(admin)
    problem = assert_problem(await admin.post(path(campaign, "/schedule"), json=body), 422, "invalid-input", field)
    assert problem["errors"][0]["code"] == code
    assert says in problem["errors"][0]["message"]
    assert (await admin.get(path(campaign))).json() == campaign


async def test_a_schedule_is_replaced_and_removed_and_the_same_again_changes_nothing(admin: httpx.AsyncClient) -> None:
    campaign = await saved(admin)
    first, second = in_hours(1), in_hours(2)
    scheduled = [await admin.post(path(campaign, "/schedule"), json={"at": at}) for at in (first, first, second)]
    removed = [await admin.delete(path(campaign, "/schedule")) for _ in range(2)]
    assert {response.status_code for response in scheduled + removed} == {200}
    assert [response.json()["version"] for response in scheduled + removed] == [2, 2, 3, 4, 4]
    assert schedule_of(removed[-1].json()) == NOT_IN_A_DRAFT
    assert [entry["action"] for entry in await entries(admin)] == ["unscheduled", "scheduled", "scheduled", "created"]


async def test_a_schedule_of_another_version_is_refused(admin: httpx.AsyncClient) -> None:
    campaign = await saved(admin)
    stale = {"If-Match": '"7"'}
    body = {"at": in_hours(1)}
    assert_problem(await admin.post(path(campaign, "/schedule"), json=body, headers=stale), 412, "stale-version")
    assert_problem(await admin.delete(path(campaign, "/schedule"), headers=stale), 412, "stale-version")
    response = await admin.post(path(campaign, "/schedule"), json=body, headers={"If-Match": '"1"'})
    assert response.status_code == 200


async def test_only_a_draft_of_the_own_organisation_has_a_schedule(
    admin: httpx.AsyncClient, stranger: httpx.AsyncClient, viewer: httpx.AsyncClient, owner: Database
) -> None:
    draft, sending = await saved(admin), await launched(owner)
    body = {"at": in_hours(1)}
    assert_problem(await admin.post(path(sending, "/schedule"), json=body), 409, "wrong-state")
    assert_problem(await admin.delete(path(sending, "/schedule")), 409, "wrong-state")
    assert_problem(await stranger.post(path(draft, "/schedule"), json=body), 404, "not-found")
    assert_problem(await stranger.delete(path(draft, "/schedule")), 404, "not-found")
    assert_problem(await viewer.post(path(draft, "/schedule"), json=body), 403, "role")
    assert (await admin.get(path(draft))).json() == draft


async def test_a_scheduled_draft_can_be_changed_duplicated_and_deleted(admin: httpx.AsyncClient) -> None:
    campaign = await saved(admin)
    scheduled = (await admin.post(path(campaign, "/schedule"), json={"at": in_hours(1)})).json()
    changed = (await admin.patch(path(campaign), json={"subject": "Hello again"})).json()
    assert schedule_of(changed) == schedule_of(scheduled)
    copy = (await admin.post(path(campaign, "/duplicate"))).json()
    assert schedule_of(copy) == NOT_IN_A_DRAFT
    assert (await admin.delete(path(campaign))).status_code == 204


async def test_a_launch_by_a_user_ends_the_schedule(admin: httpx.AsyncClient) -> None:
    campaign = await saved(admin)
    await admin.post(path(campaign, "/schedule"), json={"at": in_hours(1)[:19], "timeZone": "UTC"})
    response = await admin.post(path(campaign, "/launch"))
    assert response.status_code == 202
    assert schedule_of(response.json()) == NOT_IN_A_DRAFT
