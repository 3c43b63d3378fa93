"""The pages for recipients: self-contained, allowed by their own policy, and readable, in every language."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from marketing_service.api import pages
from marketing_service.api.languages import LANGUAGES, texts
from marketing_service.api.pages import Page

ALL = [
    pages.ASK,
    pages.CONFIRMED,
    pages.NOT_FOUND,
    pages.UNAVAILABLE,
    pages.LINK_NOT_FOUND,
    pages.LINK_UNAVAILABLE,
]
every_page = pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
every_language = pytest.mark.parametrize("language", LANGUAGES)


def html_of(page: Page, language: str = "en") -> str:
    return bytes(page.response(language).body).decode()


@every_language
@every_page
def test_a_page_runs_no_script_and_fetches_nothing(page: Page, language: str) -> None:
    html = html_of(page, language)
    assert not re.search(r"<script|https?://|src=|href=\"[^\"]|style=|onclick", html)
    HTMLParser().feed(html)


@every_page
def test_its_policy_allows_its_style_and_nothing_else(page: Page) -> None:
    found = re.search(r"<style>(.*?)</style>", html_of(page), re.DOTALL)
    assert found is not None
    digest = base64.b64encode(hashlib.sha256(found.group(1).encode()).digest()).decode()
    policy = page.response("").headers["content-security-policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@every_language
@every_page
def test_it_has_a_language_a_title_a_viewport_and_stays_out_of_search_engines(page: Page, language: str) -> None:
    html = html_of(page, language)
    page_texts = texts(language)[page.name]
    assert f'<html lang="{language}">' in html
    assert f"<title>{page_texts.title}</title>" in html
    assert f"<h1>{page_texts.title}</h1>" in html
    assert all(text in html for text in (page_texts.text, page_texts.button or "", page_texts.note or ""))
    assert "None" not in html
    assert 'name="viewport" content="width=device-width' in html
    assert "prefers-color-scheme: dark" in html
    headers = page.response(language).headers
    assert headers["content-language"] == language
    assert headers["vary"] == "Accept-Language"
    assert "noindex" in headers["x-robots-tag"]
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_only_pages_that_wait_for_a_button_have_one() -> None:
    assert [page for page in ALL if "<form" in html_of(page)] == [pages.ASK, pages.UNAVAILABLE]
    # form-action stops a form from following a redirect to another site. A link may follow it.
    assert [page for page in ALL if 'href=""' in html_of(page)] == [pages.LINK_UNAVAILABLE]


def test_every_page_has_exactly_its_texts() -> None:
    assert {page.name for page in ALL} == set(texts("en"))
    assert [page.name for page in ALL if page.button] == [name for name, fields in texts("en").items() if fields.button]
