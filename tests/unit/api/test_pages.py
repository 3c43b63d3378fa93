"""The recipients' pages: self-contained, allowed by their own policy, and made for reading."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from marketing_service.api import pages
from marketing_service.api.pages import Page

ALL = [pages.ASK, pages.CONFIRMED, pages.NOT_FOUND, pages.UNAVAILABLE]


def html_of(page: Page) -> str:
    return bytes(page.response().body).decode()


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.title)
def test_a_page_runs_no_script_and_fetches_nothing(page: Page) -> None:
    html = html_of(page)
    assert not re.search(r"<script|https?://|src=|href=|style=|onclick", html)
    HTMLParser().feed(html)


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.title)
def test_its_policy_allows_its_style_and_nothing_else(page: Page) -> None:
    found = re.search(r"<style>(.*?)</style>", html_of(page), re.DOTALL)
    assert found is not None
    digest = base64.b64encode(hashlib.sha256(found.group(1).encode()).digest()).decode()
    policy = page.response().headers["content-security-policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.title)
def test_it_has_a_language_a_title_a_viewport_and_stays_out_of_search_engines(page: Page) -> None:
    html = html_of(page)
    assert '<html lang="en">' in html
    assert f"<title>{page.title}</title>" in html
    assert 'name="viewport" content="width=device-width' in html
    assert "prefers-color-scheme: dark" in html
    headers = page.response().headers
    assert "noindex" in headers["x-robots-tag"]
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_only_pages_that_wait_for_a_button_have_one() -> None:
    assert [page for page in ALL if "<form" in html_of(page)] == [pages.ASK, pages.UNAVAILABLE]
