"""The table of links (`tests/unit/rendering/hrefs.toml`) has what this browser makes of each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import UUID

from marketing_service.rendering import SAMPLE, MessageSource, compile_message, link_target
from tests.unit.rendering.test_hrefs import TABLE

if TYPE_CHECKING:
    from playwright.async_api import Browser

# A relative address has no target in a message: its page has no address.
FOLLOWED = "() => { const a = document.querySelector('a'); return a.protocol === ':' ? '' : a.href }"
READ_AGAIN = "text => { try { return new URL(text).href } catch { return '' } }"


def normal(address: str) -> str:
    """The address with each character that RFC 3986 does not allow percent-encoded. A browser leaves some of them."""
    return quote(address, safe="!#$%&()*+,-./:;=?@[]_~")


def click_target(html: str) -> str | None:
    """The target of a click on the link; None if it is not tracked."""
    source = MessageSource(UUID(int=1), "org", None, "news@shop.example", None, "x", f"{html}x</a>", None, True)
    links = compile_message(source, public_base_url="https://portal.example", one_click=True).links
    return link_target(links[0], SAMPLE) if links else None


async def test_the_browser_follows_what_the_table_says_and_so_do_the_text_and_the_click(browser: Browser) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    wrong = []
    for row in TABLE:
        # Chromium's shortcut for `innerHTML` reads some character references differently, so the page is parsed.
        await page.set_content(f"<!DOCTYPE html><p>{row['html']}x</a>")
        followed = await page.evaluate(FOLLOWED)
        read_again = [row["text"], click_target(row["html"]) or row["text"]]
        again = {normal(await page.evaluate(READ_AGAIN, text)) for text in read_again if text}
        if followed != row["browser"] or not again <= {normal(followed)}:
            wrong.append((row, followed, again))
    await context.close()
    assert wrong == []
