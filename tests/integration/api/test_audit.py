"""The audit trail: every route that changes or exports data leaves one entry, in the same transaction."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from marketing_service.api.openapi import openapi_document
from marketing_service.campaigns.audit import digest
from marketing_service.db import Database
from marketing_service.errors import Unavailable
from marketing_service.ledger import lifecycle
from marketing_service.store.audit import Action, AuditFilter, page_of_entries
from tests.integration.api.support import (
    CAMPAIGNS,
    MESSAGE,
    assert_problem,
    client_of,
    path,
    saved,
    token,
)
from tests.integration.api.test_idempotency import failed_send
from tests.support.ledger import launched

if TYPE_CHECKING:
    import httpx
    from starlette.types import ASGIApp

pytestmark = pytest.mark.no_cover

AUDIT = "/api/marketing/audit"
SUPPRESSIONS = "/api/marketing/suppressions"
ANN = "ann@example.com"
CSV = {"Content-Type": "text/csv"}
SECRET_BODY = "<p>Only for recipients {{firstName}}</p>"


@dataclass
class Act:
    """A request that is an act, and the entry that it leaves."""

    method: str
    address: str
    action: Action
    details: dict[str, Any]
    campaign_id: str | None = None
    json: Any = None
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    async def perform(self, client: httpx.AsyncClient, **headers: str) -> httpx.Response:
        return await client.request(
            self.method, self.address, json=self.json, content=self.content, headers=self.headers | headers
        )


Prepare = "Callable[[httpx.AsyncClient, Database], Awaitable[Act]]"
ALL = {"type": "ALL", "statuses": []}


async def create(_: httpx.AsyncClient, __: Database) -> Act:
    return Act("POST", CAMPAIGNS, Action.CREATED, {"name": MESSAGE["name"], "audience": ALL}, json=MESSAGE)


async def change(admin: httpx.AsyncClient, _: Database) -> Act:
    campaign = await saved(admin)
    changes = {"name": "May newsletter", "htmlBody": SECRET_BODY, "subject": MESSAGE["subject"]}
    fields = {
        "name": {"from": MESSAGE["name"], "to": "May newsletter"},
        "htmlBody": {"from": digest(MESSAGE["htmlBody"]), "to": digest(SECRET_BODY)},
    }
    details = {"version": 2, "fields": fields}
    return Act("PATCH", path(campaign), Action.CHANGED, details, campaign["id"], json=changes)


async def delete(admin: httpx.AsyncClient, _: Database) -> Act:
    campaign = await saved(admin)
    details = {"name": MESSAGE["name"], "status": "DRAFT", "version": 1}
    return Act("DELETE", path(campaign), Action.DELETED, details, campaign["id"])


async def duplicate(admin: httpx.AsyncClient, _: Database) -> Act:
    campaign = await saved(admin)
    details = {"name": f"Copy of {MESSAGE['name']}", "audience": ALL, "copyOf": campaign["id"]}
    return Act("POST", path(campaign, "/duplicate"), Action.CREATED, details)


async def check(admin: httpx.AsyncClient, _: Database) -> Act:
    campaign = await saved(admin)
    return Act("POST", path(campaign, "/check"), Action.CHECKED, {"version": 1}, campaign["id"])


async def send_test(admin: httpx.AsyncClient, _: Database) -> Act:
    campaign = await saved(admin)
    body = {"to": ["ann@example.com", "bob@example.com"]}
    return Act("POST", path(campaign, "/test"), Action.TESTED, {"recipients": 2}, campaign["id"], json=body)


async def launch(admin: httpx.AsyncClient, _: Database) -> Act:
    campaign = await saved(admin)
    audience = {"type": "BY_STATUS", "statuses": ["LEAD"]}
    details = {"audience": audience, "version": 1, "force": False}
    return Act("POST", path(campaign, "/launch"), Action.LAUNCHED, details, campaign["id"], json={"audience": audience})


async def pause(_: httpx.AsyncClient, owner: Database) -> Act:
    campaign = await launched(owner)
    return Act("POST", path(campaign, "/pause"), Action.PAUSED, {"pauseReason": "USER"}, str(campaign))


async def resume(admin: httpx.AsyncClient, owner: Database) -> Act:
    campaign = await launched(owner)
    assert (await admin.post(path(campaign, "/pause"))).status_code == 200
    return Act("POST", path(campaign, "/resume"), Action.RESUMED, {"pauseReason": "USER"}, str(campaign))


async def cancel(_: httpx.AsyncClient, owner: Database) -> Act:
    campaign = await launched(owner)
    return Act("POST", path(campaign, "/cancel"), Action.CANCELLED, {}, str(campaign))


async def resend(admin: httpx.AsyncClient, owner: Database) -> Act:
    campaign, send = await failed_send(owner, admin)
    details = {"sendId": send, "status": "FAILED"}
    return Act("POST", path(campaign, f"/sends/{send}/resend"), Action.RESENT, details, str(campaign))


async def export_sends(_: httpx.AsyncClient, owner: Database) -> Act:
    campaign = await launched(owner)
    details = {"export": "sends", "filters": {"status": ["QUEUED"], "q": digest(ANN)}}
    address = path(campaign, f"/sends.csv?status=QUEUED&q={ANN}")
    return Act("GET", address, Action.EXPORTED, details, str(campaign))


async def suppress(_: httpx.AsyncClient, __: Database) -> Act:
    body = {"email": "Ann@Example.com", "note": "by phone"}
    return Act("POST", SUPPRESSIONS, Action.SUPPRESSED, {"address": digest(ANN)}, json=body)


async def unsuppress(admin: httpx.AsyncClient, _: Database) -> Act:
    entry = (await admin.post(SUPPRESSIONS, json={"email": ANN})).json()["id"]
    details = {"suppressionId": entry, "address": digest(ANN)}
    return Act("DELETE", f"{SUPPRESSIONS}/{entry}", Action.UNSUPPRESSED, details)


async def export_suppressions(_: httpx.AsyncClient, __: Database) -> Act:
    details = {"export": "suppressions", "filters": {"reason": ["MANUAL"], "q": None}}
    return Act("GET", f"{SUPPRESSIONS}.csv?reason=MANUAL", Action.EXPORTED, details)


async def import_suppressions(_: httpx.AsyncClient, __: Database) -> Act:
    file = b"email\nann@example.com\nbob@example.com\nnobody\n"
    details = {"file": digest(file), "rows": 3, "rejected": 1, "added": 2, "known": 0}
    return Act("POST", f"{SUPPRESSIONS}.csv", Action.IMPORTED, details, content=file, headers=CSV)


ONE = CAMPAIGNS + "/{id}"
ACTS: dict[tuple[str, str], Any] = {
    ("POST", CAMPAIGNS): create,
    ("PATCH", ONE): change,
    ("DELETE", ONE): delete,
    ("POST", ONE + "/duplicate"): duplicate,
    ("POST", ONE + "/check"): check,
    ("POST", ONE + "/test"): send_test,
    ("POST", ONE + "/launch"): launch,
    ("POST", ONE + "/pause"): pause,
    ("POST", ONE + "/resume"): resume,
    ("POST", ONE + "/cancel"): cancel,
    ("POST", ONE + "/sends/{sendId}/resend"): resend,
    ("GET", ONE + "/sends.csv"): export_sends,
    ("POST", SUPPRESSIONS): suppress,
    ("DELETE", SUPPRESSIONS + "/{suppressionId}"): unsuppress,
    ("GET", SUPPRESSIONS + ".csv"): export_suppressions,
    ("POST", SUPPRESSIONS + ".csv"): import_suppressions,
}
NO_ACTS = {
    ("POST", "/api/marketing/preview"): "It saves nothing: its POST only carries a body.",
    ("POST", "/api/marketing/unsubscribe/{token}"): "The recipient acts, who is no user of an organisation.",
    ("POST", "/api/marketing/bounces"): "A mail system reports; the send and the suppression list show the effect.",
}
HTTP_METHODS = {"post", "put", "patch", "delete"}


async def entries(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    response = await client.get(AUDIT, params=query)
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


def test_every_route_that_changes_or_exports_data_is_an_act() -> None:
    """A new route must be added to ACTS, or to NO_ACTS with the reason."""
    routes = {
        (method.upper(), address)
        for address, operations in openapi_document()["paths"].items()
        for method, operation in operations.items()
        if method in HTTP_METHODS or "text/csv" in operation["responses"].get("200", {}).get("content", {})
    }
    assert routes == ACTS.keys() | NO_ACTS.keys()


@pytest.mark.parametrize("route", ACTS, ids=" ".join)
async def test_an_act_leaves_one_entry(route: tuple[str, str], admin: httpx.AsyncClient, owner: Database) -> None:
    act = await ACTS[route](admin, owner)
    before = await entries(admin)
    response = await act.perform(admin)
    assert response.is_success, response.text
    entry, *others = await entries(admin)
    assert others == before
    campaign_id = act.campaign_id
    if act.action is Action.CREATED:
        campaign_id = response.json()["id"]
    if act.action is Action.SUPPRESSED:
        act.details["suppressionId"] = response.json()["id"]
    if act.action is Action.IMPORTED:
        act.details["importId"] = response.json()["id"]
    assert entry == {
        "id": entry["id"],
        "at": entry["at"],
        "actor": "ada",
        "action": act.action,
        "campaignId": campaign_id,
        "details": act.details,
    }
    assert "@" not in json.dumps(entry["details"])
    assert "Only for recipients" not in json.dumps(entry)
    assert len(json.dumps(entry)) < 1000


@pytest.mark.parametrize("route", ACTS, ids=" ".join)
async def test_without_its_entry_nothing_is_done(
    route: tuple[str, str], admin: httpx.AsyncClient, owner: Database
) -> None:
    """The table refuses entries: the act fails as a whole. Exports begin with the entry, so nothing is exported."""
    act = await ACTS[route](admin, owner)
    state = (
        "SELECT jsonb_agg(to_jsonb(c) ORDER BY c.id) FROM marketing_campaigns c",
        "SELECT jsonb_agg(to_jsonb(s) ORDER BY s.id) FROM marketing_suppressions s",
        "SELECT jsonb_agg(to_jsonb(s) ORDER BY s.id) FROM marketing_sends s",
        "SELECT count(*) FROM marketing_test_mails",
        "SELECT count(*) FROM marketing_preflights",
        "SELECT count(*) FROM marketing_suppression_imports",
    )

    async def everything() -> list[Any]:
        async with owner.transaction() as tx:
            return [(await tx.connection.execute(text(statement))).scalar_one() for statement in state]

    before = await everything()
    async with owner.transaction() as tx:
        await tx.connection.execute(text("REVOKE INSERT ON marketing_audit FROM marketing_api"))
    assert_problem(await act.perform(admin), 503, "unavailable")
    assert await everything() == before


@pytest.mark.parametrize("route", [route for route in ACTS if route[0] == "POST"], ids=" ".join)
async def test_a_repeated_request_leaves_no_second_entry(
    route: tuple[str, str], admin: httpx.AsyncClient, owner: Database
) -> None:
    """With an Idempotency-Key, or because the second time nothing changes."""
    act = await ACTS[route](admin, owner)
    first = await act.perform(admin, **{"Idempotency-Key": "5f0c6c3e"})
    assert first.is_success
    before = await entries(admin)
    again = await act.perform(admin, **{"Idempotency-Key": "5f0c6c3e"})
    assert again.is_success or act.action is Action.CANCELLED  # the campaign is SENT by now
    assert await entries(admin) == before


async def test_an_import_is_an_act_even_if_every_address_is_known(admin: httpx.AsyncClient) -> None:
    file = "email\nann@example.com\n"
    for _ in range(2):
        assert (await admin.post(f"{SUPPRESSIONS}.csv", content=file, headers=CSV)).status_code == 200
    counts = [(entry["details"]["added"], entry["details"]["known"]) for entry in await entries(admin)]
    assert counts == [(0, 1), (1, 0)]


async def test_an_empty_change_is_no_act(admin: httpx.AsyncClient) -> None:
    campaign = await saved(admin)
    assert (await admin.patch(path(campaign), json={})).status_code == 200
    assert [entry["action"] for entry in await entries(admin)] == ["created"]


async def test_a_refused_request_leaves_no_entry(
    admin: httpx.AsyncClient, viewer: httpx.AsyncClient, stranger: httpx.AsyncClient, owner: Database
) -> None:
    campaign = await saved(admin)
    sending = await launched(owner)
    before = await entries(admin)
    refused = [
        await admin.post(CAMPAIGNS, json=MESSAGE | {"name": ""}),
        await admin.post(CAMPAIGNS, json=MESSAGE | {"htmlBody": "{{nobody}}"}),
        await admin.patch(path(campaign), json={"name": "Other"}, headers={"If-Match": '"9"'}),
        await admin.post(path(sending, "/launch")),
        await admin.delete(path(sending)),
        await admin.post(path(campaign, "/pause")),
        await admin.post(path(campaign, "/test"), json={"to": ["nobody"]}),
        await admin.delete(f"{SUPPRESSIONS}/{campaign['id']}"),
        await admin.post(f"{SUPPRESSIONS}.csv", content=b"nothing", headers=CSV),
        await viewer.post(CAMPAIGNS, json=MESSAGE),
        await viewer.post(path(campaign, "/launch")),
        await stranger.post(path(campaign, "/launch")),
        await stranger.get(path(sending, "/sends.csv")),
    ]
    assert [response.status_code for response in refused] == [
        422, 422, 412, 409, 409, 409, 422, 404, 422, 403, 403, 404, 404,
    ]  # fmt: skip
    assert await entries(admin) == before
    assert await entries(stranger) == []


async def test_reading_it_needs_a_writing_role(viewer: httpx.AsyncClient, anonymous: httpx.AsyncClient) -> None:
    assert_problem(await viewer.get(AUDIT), 403, "role")
    assert_problem(await anonymous.get(AUDIT), 401, "unauthenticated")


async def test_an_export_by_a_reader_is_recorded(
    admin: httpx.AsyncClient, viewer: httpx.AsyncClient, owner: Database
) -> None:
    campaign = await launched(owner)
    assert (await viewer.get(path(campaign, "/sends.csv"))).status_code == 200
    assert [entry["action"] for entry in await entries(admin)] == ["exported"]


async def test_the_filters_and_the_pages(app: ASGIApp, admin: httpx.AsyncClient) -> None:
    async with client_of(app, token(sub="bob")) as bob:
        first = await saved(admin)
        second = await saved(bob)
        await bob.patch(path(first), json={"name": "By Bob"})
        await bob.delete(path(first))
    whole = await entries(admin)
    assert [(entry["actor"], entry["action"], entry["campaignId"]) for entry in whole] == [
        ("bob", "deleted", first["id"]),
        ("bob", "changed", first["id"]),
        ("bob", "created", second["id"]),
        ("ada", "created", first["id"]),
    ]
    assert await entries(admin, actor="bob") == whole[:3]
    assert await entries(admin, action=["created", "deleted"]) == [whole[0], *whole[2:]]
    assert await entries(admin, campaignId=first["id"]) == [*whole[:2], whole[3]]
    assert await entries(admin, since=whole[2]["at"]) == whole[:3]
    assert await entries(admin, since=whole[2]["at"], actor="bob", action="changed") == [whole[1]]
    assert await entries(admin, actor="nobody") == []

    paged: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 1, "actor": "bob"}
    while query.get("cursor", "") is not None:
        page = (await admin.get(AUDIT, params=query)).json()
        assert len(page["items"]) <= 1
        paged += page["items"]
        query["cursor"] = page["nextCursor"]
    assert paged == whole[:3]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("since=yesterday", "since"),
        ("since=0", "since"),
        ("since=2026-12-01", "since"),
        ("since=2026-12-01T09:00:00", "since"),
        ("since=2026-12-01T09:00:00+01:00", "since"),
        ("since=2026-13-01T09:00:00Z", "since"),
        ("action=destroyed", "action[0]"),
        ("campaignId=1", "campaignId"),
        ("actor=", "actor"),
        ("actor=%00", "actor"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("cursor=xyz", "cursor"),
        ("org=globex", "org"),
    ],
)
async def test_a_malformed_filter_is_refused(admin: httpx.AsyncClient, query: str, name: str) -> None:
    assert_problem(await admin.get(f"{AUDIT}?{query}"), 422, "invalid-input", name)


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00%2B14:00", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00"])
async def test_every_time_can_be_asked_for(admin: httpx.AsyncClient, since: str) -> None:
    await saved(admin)
    response = await admin.get(f"{AUDIT}?since={since}")
    assert (response.status_code, len(response.json()["items"])) == (200, 0 if since.startswith("9") else 1)


async def test_a_page_reads_a_limited_number_of_entries(admin: httpx.AsyncClient, owner: Database) -> None:
    """With a rare actor, pages are empty, and the last one has the entry."""
    await saved(admin)
    async with owner.transaction() as tx:
        await tx.connection.execute(
            text(
                "INSERT INTO marketing_audit (org_id, actor, action, details)"
                " SELECT 'acme', 'script', 'exported', '{}' FROM generate_series(1, 95)"
            )
        )
        found, before = [], None
        for _ in range(10):
            page = await page_of_entries(
                tx.connection, "acme", only=AuditFilter(actor="ada"), before=before, limit=50, max_read=10
            )
            found.append(len(page.items))
            before = page.next
    assert found == [0] * 9 + [1]
    assert before is None


async def test_a_page_of_a_campaign_reads_only_its_entries(admin: httpx.AsyncClient, owner: Database) -> None:
    """Measured in rows that PostgreSQL has read, not in time."""
    campaign = await saved(admin)
    async with owner.transaction() as tx:
        await tx.connection.execute(
            text(
                "INSERT INTO marketing_audit (org_id, actor, action, campaign_id, details)"
                " SELECT 'acme', 'script', 'exported', uuidv7(), '{}' FROM generate_series(1, 20000)"
            )
        )
        await tx.connection.execute(text("ANALYZE marketing_audit"))
        plan = await tx.connection.execute(
            text(
                "EXPLAIN SELECT * FROM marketing_audit WHERE org_id = 'acme'"
                f" AND campaign_id = '{campaign['id']}' ORDER BY id DESC LIMIT 20000"
            )
        )
        assert "ix_marketing_audit_campaign" in "\n".join(plan.scalars())
    assert [entry["action"] for entry in await entries(admin, campaignId=campaign["id"])] == ["created"]


async def test_what_the_service_does_by_itself_has_the_actor_system(
    admin: httpx.AsyncClient, owner: Database, database_url: str
) -> None:
    campaign = await launched(owner)
    worker = Database(database_url, role="marketing_worker", pool_size=1)
    async with worker.transaction() as tx:
        assert await lifecycle.pause(tx.connection, campaign, lifecycle.PauseReason.RELAY_DOWN)
        assert not await lifecycle.pause(tx.connection, campaign, lifecycle.PauseReason.RELAY_DOWN)
    async with worker.transaction() as tx:
        assert await lifecycle.resume_after_relay(tx.connection, campaign)
        assert not await lifecycle.resume_after_relay(tx.connection, campaign)
    await worker.close()
    found = await entries(admin, actor="system", campaignId=str(campaign))
    assert [(entry["action"], entry["details"]) for entry in found] == [
        ("resumed", {}),
        ("paused", {"pauseReason": "RELAY_DOWN"}),
    ]


async def test_no_user_can_act_as_the_system(app: ASGIApp) -> None:
    async with client_of(app, token(sub="system")) as client:
        assert_problem(await client.post(CAMPAIGNS, json=MESSAGE), 401, "unauthenticated")


@pytest.mark.parametrize("role", ["marketing_api", "marketing_worker"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE marketing_audit SET actor = 'eve'",
        "DELETE FROM marketing_audit",
        "TRUNCATE marketing_audit",
        "ALTER TABLE marketing_audit DISABLE ROW LEVEL SECURITY",
        "DROP TABLE marketing_audit",
    ],
)
async def test_no_role_of_the_service_can_change_an_entry(
    admin: httpx.AsyncClient, database_url: str, role: Any, statement: str
) -> None:
    await saved(admin)
    before = await entries(admin)
    database = Database(database_url, role=role, pool_size=1)
    with pytest.raises(Unavailable, match="does not give this service the rights"):
        async with database.transaction("acme") as tx:
            await tx.connection.execute(text(statement))
    await database.close()
    assert await entries(admin) == before


async def test_the_api_cannot_write_an_entry_of_another_organisation(
    stranger: httpx.AsyncClient, database_url: str
) -> None:
    database = Database(database_url, role="marketing_api", pool_size=1)
    with pytest.raises(DBAPIError, match="row-level security"):
        async with database.transaction("acme") as tx:
            await tx.connection.execute(
                text(
                    "INSERT INTO marketing_audit (org_id, actor, action, details)"
                    " VALUES ('globex', 'eve', 'launched', '{}')"
                )
            )
    await database.close()
    assert await entries(stranger) == []


async def test_an_organisation_sees_only_its_own_entries(
    admin: httpx.AsyncClient, stranger: httpx.AsyncClient, database_url: str
) -> None:
    campaign = await saved(admin)
    assert await entries(stranger) == []
    assert await entries(stranger, campaignId=campaign["id"]) == []
    database = Database(database_url, role="marketing_api", pool_size=1)
    async with database.transaction("globex") as tx:
        # Row-level security alone: the statement has no filter.
        assert (await tx.connection.execute(text("SELECT count(*) FROM marketing_audit"))).scalar_one() == 0
    await database.close()


async def test_an_action_of_a_newer_version_can_be_read(admin: httpx.AsyncClient, owner: Database) -> None:
    async with owner.transaction() as tx:
        await tx.connection.execute(
            text(
                "INSERT INTO marketing_audit (org_id, actor, action, details)"
                " VALUES ('acme', 'ada', 'archived', '{\"by\": 1}')"
            )
        )
    (entry,) = await entries(admin)
    assert (entry["action"], entry["details"], UUID(entry["id"]).version) == ("archived", {"by": 1}, 7)
