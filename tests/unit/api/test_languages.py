"""The language of a page, and the completeness of the texts in every language."""

from __future__ import annotations

import re
from dataclasses import asdict

import pytest

from marketing_service.api.languages import LANGUAGES, preferred, texts

TAG = re.compile("<[^>]*>")


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-CH, de;q=0.9, en;q=0.8", "de"),
        ("ES-419", "es"),
        ("fr-CA;q=0.3, es;q=0.4", "es"),
        ("en;q=0.2, de;q=0.2", "en"),
        ("de;q=0.2, en;q=0.2", "de"),
        ("it, fr;q=0.5, en;q=0.7", "en"),
        ("it, pl;q=0.9", "en"),
        ("zh-Hant-TW, fr;q=0.001", "fr"),
        ("fr;q=0", "en"),
        ("fr;q=0, de;q=0.1", "de"),
        ("*", "en"),
        ("*;q=0.5, es;q=0.4", "en"),
        ("en;q=0, *", "de"),
        ("en;q=0, de;q=0, fr;q=0, es;q=0, *", "en"),
        ("fr ; q=1.000 ,, de ;Q=0.9", "fr"),
        # Invalid items are ignored.
        ("de;q=2, fr", "fr"),
        ("de;q=0.1234, fr;q=0.1", "fr"),
        ("de-;q=1, toolonglanguage, <script>, \x00, fr", "fr"),
        ("de;level=1, fr;q=0.1", "fr"),
        ("xx," * 100_000 + "de", "en"),
    ],
)
def test_the_preferred_available_language_is_chosen(header: str, language: str) -> None:
    """RFC 9110 §12.5.4."""
    assert preferred(header) == language


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_every_text_exists_and_is_translated(language: str) -> None:
    english, translated = texts("en"), texts(language)
    assert list(translated) == list(english)
    for page, fields in english.items():
        for name, text in asdict(fields).items():
            other = getattr(translated[page], name)
            assert (other is None) == (text is None), f"{page}.{name}"
            if text is not None:
                assert other.strip() == other != text, f"{page}.{name}"
                assert TAG.findall(other) == TAG.findall(text), f"{page}.{name}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_hold_no_markup_but_emphasis(language: str) -> None:
    for fields in texts(language).values():
        for text in filter(None, asdict(fields).values()):
            assert set(TAG.findall(text)) <= {"<strong>", "</strong>"}
            assert "&" not in text


@pytest.mark.parametrize("language", ["de", "fr"])
def test_the_hyphen_in_email_does_not_end_a_line(language: str) -> None:
    for fields in texts(language).values():
        assert not any("e-mail" in text.lower() for text in filter(None, asdict(fields).values()))


def test_french_keeps_its_punctuation_on_the_line() -> None:
    """French has a no-break space before "?", ":" and similar marks."""
    for fields in texts("fr").values():
        for text in filter(None, asdict(fields).values()):
            assert not re.search(r"[^\u00a0\u202f][?!:;]", text)
            assert "'" not in text
