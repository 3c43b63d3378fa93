"""The addresses of links are read as a browser reads them. `hrefs.toml` has what a browser makes of each form."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote
from uuid import UUID

import pytest

from marketing_service.rendering import SAMPLE, MessageSource, compile_message, link_target
from marketing_service.rendering.derive import text_from_html

TABLE = tomllib.loads((Path(__file__).parent / "hrefs.toml").read_text(encoding="utf-8"))["href"]
SOURCE = MessageSource(UUID(int=1), "org", None, "news@shop.example", None, "Hello", "", None, track_clicks=True)


@pytest.mark.parametrize("row", TABLE, ids=[row["html"] for row in TABLE])
def test_the_derived_text_has_the_address_that_a_browser_follows(row: dict[str, str]) -> None:
    shown = re.sub(r"\A(?:mailto|tel):", "", row["text"], flags=re.IGNORECASE)
    assert text_from_html(f"{row['html']}label</a>")[0] == (f"label ({shown})" if shown else "label")


def test_a_click_leads_to_the_address_in_the_derived_text() -> None:
    tracked = 0
    for row in TABLE:
        source = replace(SOURCE, html_body=f"{row['html']}label</a>")
        links = compile_message(source, public_base_url="https://portal.example", one_click=True).links
        if links and row["text"].isascii():
            target = link_target(links[0], SAMPLE)
            assert target is not None
            assert unquote(target) == unquote(row["text"]), row["html"]
            tracked += 1
    assert tracked > 60


def test_an_address_without_a_target_is_left_out_of_the_text() -> None:
    html = (
        '<a href="javascript:alert(1)">a</a> <a href=" DATA:text/html,x">b</a> <a href=" #top">c</a> <a href="">d</a>'
    )
    assert text_from_html(html)[0] == "a b c d"


def test_the_text_of_a_link_is_not_repeated_in_either_spelling() -> None:
    html = (
        '<a href="https://x.example/a b">https://x.example/a b</a> <a href="https://x.example/a b">x.example/a%20b</a>'
    )
    assert text_from_html(html)[0] == "https://x.example/a b x.example/a%20b"
