"""Reading the audit trail: its filters and pages, and who may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from marketing_service.store.audit import AuditFilter, page_of_entries
from tests.integration.api.acts import (
    AUDIT,
    entries,
)
from tests.integration.api.support import (
    assert_problem,
    client_of,
    path,
    saved,
    token,
)
from tests.support.ledger import launched

if TYPE_CHECKING:
    import httpx
    from starlette.types import ASGIApp

    from marketing_service.db import Database


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
