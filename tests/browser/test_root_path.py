"""The console below a path prefix, behind a proxy that removes it or keeps it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import expect

from marketing_service.devstack.process import free_port
from tests.browser.served import served
from tests.support import nginx

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.conftest import Visit

PREFIX = "/apps/mail"


@pytest.mark.skipif(nginx.missing() is not None, reason=str(nginx.missing()))
async def test_below_a_prefix_a_campaign_is_written_previewed_and_found_again(
    visit: Visit, ready: dict[str, Any], tmp_path: Path
) -> None:
    port = free_port()
    async with nginx.nginx(tmp_path, PREFIX, api=port) as origins:
        with served(ready, port, "--root-path", PREFIX):
            for origin in origins:
                console = await visit(origin=origin + PREFIX)
                await console.log_in(path="/campaigns/new")
                await console.field("Name").fill("Below a prefix")
                await console.field("Subject").fill("Soon")
                await console.field("From email").fill("news@acme.example")
                await console.field("HTML").fill("<p>Hello below</p>")
                await console.button("Save draft").click()
                await expect(console.heading("Below a prefix")).to_be_visible()
                await expect(console.mail().get_by_text("Hello below")).to_be_visible()
                await expect(console.page).to_have_url(
                    re.compile(rf"^{origin}{PREFIX}/marketing/campaigns/[0-9a-f-]+$")
                )
                await console.page.reload()
                await expect(console.heading("Below a prefix")).to_be_visible()
                await console.link("Campaigns").first.click()
                await expect(console.page).to_have_url(f"{origin}{PREFIX}/marketing")
                await console.button("Log out").click()
                await expect(console.heading("Log in to Marketing")).to_be_visible()
                await expect(console.page).to_have_url(f"{origin}{PREFIX}/marketing")
