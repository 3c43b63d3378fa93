"""A page object for the console. It records each error that the browser logs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.async_api import expect

if TYPE_CHECKING:
    from playwright.async_api import ConsoleMessage, Download, Locator, Page

ADMIN = "you@example.com"
VIEWER = "viewer@example.com"
OTHER_ADMIN = "other@example.org"

# A campaign without a check gives a 404 for it, and Chromium logs each 404.
_EXPECTED = [r"404 .*/check$"]


@dataclass
class Console:
    """One page of the console. `expected_errors` are patterns of the errors that a test causes on purpose."""

    page: Page
    origin: str
    expected_errors: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._logged)
        self.page.on("pageerror", lambda error: self.logged.append(f"uncaught: {error}"))

    def _logged(self, message: ConsoleMessage) -> None:
        # This includes violations of the Content Security Policy.
        if message.type in {"error", "warning"}:
            self.logged.append(f"{message.text} {message.location.get('url', '')}")

    def unexpected_errors(self) -> list[str]:
        """The logged errors that match no expected pattern."""
        return [
            text for text in self.logged if not any(re.search(one, text) for one in [*_EXPECTED, *self.expected_errors])
        ]

    async def open(self, path: str = "") -> None:
        await self.page.goto(f"{self.origin}/marketing{path}")

    async def log_in(self, email: str = ADMIN, path: str = "") -> None:
        await self.open(path)
        await self.page.get_by_label("Email").fill(email)
        await self.page.get_by_label("Password").fill("any")
        await self.page.get_by_label("Code").fill("123456")
        await self.page.get_by_role("button", name="Log in").click()
        await expect(self.page.get_by_role("button", name="Log in", exact=True)).to_have_count(0)

    def heading(self, name: str) -> Locator:
        return self.page.get_by_role("heading", level=1, name=name, exact=True)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def link(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("link", name=name, exact=isinstance(name, str))

    def field(self, name: str) -> Locator:
        return self.page.get_by_role("textbox", name=name, exact=True)

    @property
    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    def mail(self) -> Any:
        """The content of the frame that shows the mail."""
        return self.page.frame_locator(".stage iframe")

    async def stat(self, label: str) -> str:
        """The number on the card with this label."""
        card = self.page.locator(".stat").filter(has=self.page.locator("dt", has_text=re.compile(f"^{label}$")))
        return await card.locator("strong").inner_text()

    async def overflow(self) -> int:
        """How much wider than the window the page is, in pixels."""
        width: int = await self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return width


async def tab_to(console: Console, name: str) -> None:
    """Presses Tab until the focus is on an element whose name starts with `name`."""
    for _ in range(40):
        await console.page.keyboard.press("Tab")
        focused = await console.page.evaluate(
            """() => {
                const one = document.activeElement;
                if (one === document.body) return '';
                return one.getAttribute('aria-label') ?? one.labels?.[0]?.innerText ?? one.innerText ?? '';
            }"""
        )
        if focused.strip().startswith(name):
            return
    raise AssertionError(f"Tab does not reach {name!r}")


async def text_of(download: Download) -> str:
    """The text of the downloaded file."""
    path = await download.path()
    return Path(path).read_text(encoding="utf-8")  # noqa: ASYNC240 - no other task runs here
