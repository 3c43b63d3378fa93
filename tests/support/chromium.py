"""The browser the console is tested with: the machine's own, so that none is fetched past the package manager."""

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
    # Its sandbox needs a user of its own; what runs here is our own page.
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--font-render-hinting=none",
)


def chromium() -> str | None:
    """Where it is; None where there is none."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Browser]:
    """The browser, without a window, while the block runs."""
    from playwright.async_api import async_playwright  # noqa: PLC0415 - only who has a browser needs its driver

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=list(_FLAGS))
        try:
            yield browser
        finally:
            await browser.close()
