"""Takes the screenshots in docs/console/: each screen in light and dark, the important ones on a phone too."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from PIL import Image
from playwright.async_api import expect

from tests.acceptance.portal import Portal
from tests.browser import demo_data
from tests.browser.console import ADMIN, VIEWER, Console
from tests.support.chromium import NO_CHROMIUM, chromium, running_chromium
from tests.support.dev import ANY_PORT, running
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.async_api import Browser, Page

FOLDER = ROOT / "docs" / "console"
DESKTOP, PHONE = (1280, 860), (390, 844)
TALL = {"sent": 920, "form": 1000, "draft": 1240}
TIMEOUT_MILLISECONDS = 30_000
# Slow enough to take a screenshot during the sending.
_SLOW_RATE = "60/second"


async def main() -> None:
    if chromium() is None:
        raise SystemExit(f"Cannot take screenshots: {NO_CHROMIUM}.")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, _portal(Path(folder) / "dev") as portal:
        ids = await demo_data.create(portal)
        async with running_chromium() as browser:
            for scheme in ("light", "dark"):
                await _take(browser, portal.ready, ids, scheme)
            await _take_during_sending(browser, portal, ids["sending"])


@contextmanager
def _portal(data_dir: Path) -> Iterator[Portal]:
    with running(data_dir, *ANY_PORT, "--contacts", "375", MARKETING_RATE_ORG=_SLOW_RATE) as dev:
        ready = dev.ready()
        admin = {"Authorization": f"Bearer {ready['tokens']['admin']}"}
        with (
            httpx.Client(base_url=f"{ready['api']}/api/marketing", headers=admin, timeout=30) as api,
            httpx.Client(base_url=ready["inbox"], timeout=30) as inbox,
        ):
            yield Portal(ready, api=api, crm=api, inbox=inbox)


async def _console(browser: Browser, ready: dict[str, Any], scheme: str, size: tuple[int, int]) -> Console:
    viewport = {"width": size[0], "height": size[1]}
    context = await browser.new_context(color_scheme=scheme, viewport=viewport, locale="en-GB")  # type: ignore[arg-type]
    context.set_default_timeout(TIMEOUT_MILLISECONDS)
    return Console(await context.new_page(), ready["api"])


async def _take(browser: Browser, ready: dict[str, Any], ids: dict[str, str], scheme: str) -> None:
    console = await _console(browser, ready, scheme, DESKTOP)
    await console.open()
    await expect(console.heading("Log in to Marketing")).to_be_visible()
    await console.page.get_by_label("Email").fill(ADMIN)
    await _take_clean(console, f"log-in-{scheme}")
    await console.log_in()
    await expect(console.page.locator(".rows li").first).to_be_visible()
    await _take_clean(console, f"list-{scheme}")
    await _draft(console, ids["draft"], scheme)
    sent = f"/campaigns/{ids['sent']}"
    screens = {
        "sent": (sent, "svg.chart"),
        "log": (f"{sent}/log", ".log tbody tr"),
        "suppressions": ("/suppressions", ".log tbody tr"),
        "failed": (f"/campaigns/{ids['failed']}", ".notice.danger"),
    }
    for name, (path, seen) in screens.items():
        await _screen(console, path, seen, f"{name}-{scheme}")

    await console.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    on_phone = screens | {"list": ("", ".rows li"), "form": (f"/campaigns/{ids['draft']}/edit", ".stage iframe")}
    for name in ("list", "form", "sent", "log"):
        await _screen(console, *on_phone[name], f"telephone-{name}-{scheme}")
    await console.page.context.close()

    console = await _console(browser, ready, scheme, DESKTOP)
    await console.log_in(VIEWER)
    await expect(console.heading("This page is for administrators")).to_be_visible()
    await _take_clean(console, f"for-administrators-{scheme}")
    await console.page.context.close()


async def _draft(console: Console, campaign_id: str, scheme: str) -> None:
    await console.open(f"/campaigns/{campaign_id}/edit")
    await expect(console.mail().get_by_text("Hello Alex")).to_be_visible()
    await _take_clean(console, f"form-{scheme}")
    await console.open(f"/campaigns/{campaign_id}")
    await expect(console.button("Launch campaign")).to_be_visible()
    if await console.button("Check now").is_visible():
        await console.button("Check now").click()
    await expect(console.page.locator(".findings li").first).to_be_visible()
    await _take_clean(console, f"draft-{scheme}")
    await console.button("Launch campaign").click()
    await expect(console.page.locator(".launch-count b")).to_be_visible()
    await _take_clean(console, f"launch-{scheme}")
    await console.dialog.get_by_role("radio", name="Schedule").check()
    await _take_clean(console, f"schedule-{scheme}")


async def _screen(console: Console, path: str, seen: str, name: str) -> None:
    await console.open(path)
    await expect(console.page.locator(seen).first).to_be_visible()
    await _take_clean(console, name)


async def _take_clean(console: Console, name: str) -> None:
    """Takes a screenshot without toasts, hover effects and focus."""
    page = console.page
    await page.evaluate("document.querySelectorAll('.toast').forEach((toast) => toast.remove())")
    await page.mouse.move(0, 0)
    await page.evaluate("document.querySelector('dialog') ?? document.activeElement?.blur()")
    size = page.viewport_size
    assert size is not None
    tall = TALL.get(name.rpartition("-")[0], size["height"])
    await page.set_viewport_size({"width": size["width"], "height": tall})
    await page.wait_for_timeout(500)
    await _save(page, name)
    await page.set_viewport_size(size)


async def _take_during_sending(browser: Browser, portal: Portal, campaign_id: str) -> None:
    """Takes the screenshots during the sending. It runs last, because it launches the campaign."""
    pages = [await _console(browser, portal.ready, scheme, DESKTOP) for scheme in ("light", "dark")]
    for console in pages:
        await console.log_in(path=f"/campaigns/{campaign_id}")
        await expect(console.button("Launch campaign")).to_be_visible()
    portal.api.post(f"/campaigns/{campaign_id}/launch").raise_for_status()
    for console, scheme in zip(pages, ("light", "dark"), strict=True):
        await console.page.reload()
        await expect(console.page.locator(".legend").first).to_contain_text("Queued", timeout=TIMEOUT_MILLISECONDS)
        delivered = console.page.locator(".stat").nth(1).locator("strong")
        await expect(delivered).not_to_have_text("0", timeout=TIMEOUT_MILLISECONDS)
        await console.page.wait_for_timeout(300)
        await _save(console.page, f"sending-{scheme}")


async def _save(page: Page, name: str) -> None:
    """Saves a screenshot with a palette of 256 colours: a third of the size, without a visible difference."""
    taken = Image.open(BytesIO(await page.screenshot(animations="disabled")))
    few = taken.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
    few.save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    asyncio.run(main())
