"""The check of a screen with axe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from axe_playwright_python.async_playwright import Axe

if TYPE_CHECKING:
    from tests.browser.console import Console


async def check(console: Console, screen: str) -> None:
    """No violation of an axe rule, and no horizontal scrolling."""
    result = await Axe().run(console.page, options={"iframes": False})
    violations = {rule["id"]: [node["html"] for node in rule["nodes"]] for rule in result.response["violations"]}
    assert violations == {}, screen
    assert await console.overflow() <= 0, screen
