"""The browser for the tests of the console: the one that the machine has, so that the tests download none."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

NO_CHROMIUM = "there is no Chromium on this machine (on Debian: the package `chromium`)"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    # The sandbox does not work as root. The browser opens only our own pages.
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--font-render-hinting=none",
)


def chromium() -> str | None:
    """The path of the browser, or None if the machine has none."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Browser]:
    """Run the browser without a window while the block runs."""
    from playwright.async_api import async_playwright  # noqa: PLC0415 - the driver is needed only with a browser

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=list(_FLAGS))
        try:
            yield browser
        finally:
            await browser.close()
