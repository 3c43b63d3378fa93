"""The list of campaigns, with 10,000 of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
from playwright.async_api import expect

from tests.browser.console import OTHER_ADMIN

if TYPE_CHECKING:
    from tests.browser.console import Console

MANY = 10_000
# In the second organisation, so that they do not disturb other tests.
_INSERT = """
INSERT INTO marketing_campaigns (org_id, name, from_email, subject, html_body, audience_type, audience_statuses,
    status, created_by, created_at, updated_at, version)
SELECT 'globex', 'Campaign ' || lpad(n::text, 5, '0'), 'news@globex.example', 'Number ' || n, 'Hello', 'ALL', '{}',
    'DRAFT', 'test', now() - n * interval '1 minute', now(), 1
FROM generate_series(1, $1) AS n
"""


async def test_ten_thousand_campaigns(console: Console, ready: dict[str, Any]) -> None:
    connection = await asyncpg.connect(ready["databaseUrl"])
    await connection.execute(_INSERT, MANY)
    await connection.close()
    await console.log_in(OTHER_ADMIN)
    rows = console.page.locator(".rows li")
    await expect(rows).to_have_count(50)
    assert await console.stat("Campaigns") == "10,000"
    for shown in (100, 150, 200):
        await console.button("Show more").click()
        await expect(rows).to_have_count(shown)
        await expect(rows.nth(shown - 50).get_by_role("link")).to_be_focused()
    await expect(rows.nth(199)).to_contain_text("Campaign 00200")

    # The way back restores the position in the list.
    await rows.nth(120).get_by_role("link").click()
    await expect(console.heading("Campaign 00121")).to_be_visible()
    await console.page.go_back()
    await expect(rows).to_have_count(200)
    await expect(rows.nth(120)).to_be_in_viewport()
    await expect(rows.nth(120).get_by_role("link")).to_be_focused()

    await console.page.get_by_label("Name starts with").fill("campaign 09")
    await expect(rows.first).to_contain_text("Campaign 09000")
    assert "q=campaign+09" in console.page.url
    await console.page.get_by_label("Sent", exact=False).first.check()
    await expect(console.page.get_by_text("No campaigns match your filters.")).to_be_visible()
    await console.page.reload()
    await expect(console.page.get_by_text("No campaigns match your filters.")).to_be_visible()
    await expect(console.page.get_by_label("Name starts with")).to_have_value("campaign 09")
