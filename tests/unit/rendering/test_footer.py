"""The footer that is appended to both bodies: its language, its colours, and the postal address."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from marketing_service.languages import Language
from marketing_service.rendering import (
    SAMPLE,
    Finding,
    MergeFields,
    MessageSource,
    PostalAddresses,
    RecipientData,
    Severity,
    compile_message,
    missing_postal_address,
)

PUBLIC = "https://portal.example.org"
OWN = f"{PUBLIC}/api/marketing/unsubscribe/token"
SOURCE = MessageSource(UUID(int=7), "org", None, "news@shop.example", None, "Hello", "<p>x</p>", "text")
KIM = RecipientData(
    UUID(int=9), MergeFields("kim@example.com", "Kim"), datetime(2026, 5, 4, tzinfo=UTC), "token", "open"
)
ADDRESS = 'R&D "Nord" <GmbH>\nHauptstr. 5, 10115 Berlin'
MIN_CONTRAST = 4.5
"""WCAG 2.2, 1.4.3: for text of this size."""


def bodies(**source: Any) -> list[str]:
    return compile_message(replace(SOURCE, **source), public_base_url=PUBLIC, one_click=True).bodies(KIM)


@pytest.mark.parametrize(
    ("language", "in_text", "in_html"),
    [
        (Language.EN, "Unsubscribe: ", "Unsubscribe"),
        (Language.DE, "Abmelden: ", "Abmelden"),
        (Language.FR, "Se désabonner\u00a0: ", "Se désabonner"),
        (Language.ES, "Darse de baja: ", "Darse de baja"),
    ],
)
def test_the_link_is_in_the_language_of_the_campaign(language: Language, in_text: str, in_html: str) -> None:
    text, html = bodies(language=language)
    assert text == f"text\n\n-- \n{in_text}{OWN}\n"
    assert re.search(rf'<div [^>]*lang="{language}">\n<a href="{OWN}"[^>]*>{in_html}</a>\n</div>', html)


def test_every_language_has_its_own_words() -> None:
    assert len({bodies(language=language)[1] for language in Language}) == len(Language)


def test_the_postal_address_is_below_the_link_and_escaped() -> None:
    text, html = bodies(postal_address=ADDRESS)
    assert text == f"text\n\n-- \nUnsubscribe: {OWN}\n{ADDRESS}\n"
    assert "</a><br>\nR&amp;D &#34;Nord&#34; &lt;GmbH&gt;<br>\nHauptstr. 5, 10115 Berlin\n</div>" in html


def test_a_postal_address_is_no_template() -> None:
    text, html = bodies(postal_address="{{ firstName }} {% if")
    assert text.endswith("\n{{ firstName }} {% if\n")
    assert "<br>\n{{ firstName }} {% if\n</div>" in html


def test_a_body_with_the_link_of_its_author_gets_no_postal_address() -> None:
    text, html = bodies(html_body="<p>{{ unsubscribeUrl }}</p>", postal_address=ADDRESS)
    assert "Berlin" in text
    assert "Berlin" not in html
    branch = "<p>{% if lastName %}{{ unsubscribeUrl }}{% endif %}</p>"
    assert "Berlin" in bodies(html_body=branch, postal_address=ADDRESS)[1]


def luminance(color: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(color: str, background: str) -> float:
    dark, light = sorted((luminance(color), luminance(background)))
    return (light + 0.05) / (dark + 0.05)


def test_it_can_be_read_on_any_background() -> None:
    """Its link and its text have their own colour, on a background of its own."""
    _, html = bodies(postal_address=ADDRESS)
    (block,) = re.findall(r'<div style="([^"]*)"', html)
    (link,) = re.findall(r'<a [^>]*style="([^"]*)"', html)
    (background,) = re.findall(r"background-color: (#[0-9a-f]{6})", block)
    for style in (block, link):
        (color,) = re.findall(r"(?<!-)\bcolor: (#[0-9a-f]{6})", style)
        assert contrast(color, background) >= MIN_CONTRAST


def test_an_organisation_has_its_own_address_or_that_of_all_others() -> None:
    addresses = PostalAddresses({"acme": "Acme Ltd", "*": "Group Ltd", "quiet": ""})
    assert [addresses.of(org) for org in ("acme", "globex", "quiet")] == ["Acme Ltd", "Group Ltd", None]
    assert PostalAddresses({"acme": "Acme Ltd"}).of("globex") is None
    assert PostalAddresses().of("acme") is None


LINK = '<a href="{{ unsubscribeUrl }}">x</a>'


@pytest.mark.parametrize(
    ("source", "places"),
    [
        ({"html_body": f"<p>Hi {LINK}</p>"}, ["htmlBody"]),
        ({"html_body": f"<p>Hi {LINK}</p>", "text_body": None}, ["htmlBody"]),
        ({"html_body": f"<p>Hi {LINK}</p>", "text_body": "{{ unsubscribeUrl }}"}, ["htmlBody", "textBody"]),
        ({"html_body": None, "text_body": "{{ unsubscribeUrl }}"}, ["textBody"]),
        ({"html_body": f"{{% if email %}}<p>{LINK}</p>{{% endif %}}"}, ["htmlBody"]),
        ({"html_body": "<p>Hi</p>"}, []),
        ({"html_body": f"<p>r&amp;d nord gmbh<br>Hauptstr. 5 &ndash; <b>10115</b> BERLIN {LINK}"}, []),
        ({"html_body": f"<p>R&amp;D Nord GmbH, Hauptstr. 50, 10115 Berlin {LINK}"}, ["htmlBody"]),
        ({"html_body": f"<!-- {ADDRESS} --><p>{LINK}"}, ["htmlBody"]),
        ({"html_body": f"<p>Hi {LINK}</p>", "postal_address": None}, []),
    ],
)
def test_a_body_that_lacks_the_postal_address_is_found(source: dict[str, Any], places: list[str]) -> None:
    written = replace(SOURCE, **({"postal_address": ADDRESS} | source))
    message = compile_message(written, public_base_url=PUBLIC, one_click=True)
    findings = list(missing_postal_address(written, message))
    assert [finding.place for finding in findings] == places
    assert {(finding.code, finding.severity) for finding in findings} <= {("NO_POSTAL_ADDRESS", Severity.WARNING)}
    assert all(isinstance(finding, Finding) for finding in findings)


def test_a_preview_shows_the_footer() -> None:
    source = replace(SOURCE, language=Language.DE, postal_address=ADDRESS)
    preview = compile_message(source, public_base_url=PUBLIC, one_click=True).preview(SAMPLE)
    assert preview.text == f"text\n\n-- \nAbmelden: #\n{ADDRESS}\n"
    assert "Abmelden</a><br>" in preview.html
