"""The languages of the public pages, and which of them a reader prefers."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from marketing_service.languages import Language

LANGUAGES = tuple(language.value for language in Language)
"""The languages with texts. The first is the default for readers who accept none of them."""

# RFC 9110 §12.4.2 and §12.5.4, RFC 4647 §2.1.
_RANGE = re.compile(
    r"\s*(?P<tag>\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)\s*"
    r"(?:;\s*[qQ]=(?P<weight>0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*)?"
)
_MAX_RANGES = 50


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one page, as HTML. Not every page has a `button` or a `note`."""

    title: str
    text: str
    button: str | None = None
    note: str | None = None


@cache
def texts(language: str) -> dict[str, Texts]:
    """The texts of every page in one of LANGUAGES, by the name of the page."""
    source = files("marketing_service.api").joinpath("texts", f"{language}.toml").read_text(encoding="utf-8")
    return {page: Texts(**fields) for page, fields in tomllib.loads(source).items()}


def preferred(accept_language: str) -> str:
    """The one of LANGUAGES that this Accept-Language prefers. A region counts as its language (RFC 4647 §3.4). Items
    that cannot be parsed are ignored."""
    weights: dict[str, float] = {}
    for item in accept_language.split(",", _MAX_RANGES)[:_MAX_RANGES]:
        if found := _RANGE.fullmatch(item):
            language = found["tag"].partition("-")[0].lower()
            weight = float(found["weight"] or 1)
            weights[language] = max(weight, weights.get(language, 0.0))
    # The sort is stable: of two languages with one weight, the one that the header names first wins.
    for language in sorted(weights, key=lambda language: -weights[language]):
        if weights[language] == 0.0:
            break
        if language == "*":
            return next((ours for ours in LANGUAGES if ours not in weights), LANGUAGES[0])
        if language in LANGUAGES:
            return language
    return LANGUAGES[0]
