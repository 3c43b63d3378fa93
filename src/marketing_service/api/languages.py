"""The languages recipients are spoken to in, and which of them a reader asks for."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

LANGUAGES = ("en", "de", "fr", "es")
"""Those there are texts in; the first is for whoever asks for none of them."""

# RFC 9110 §12.4.2 and §12.5.4, RFC 4647 §2.1.
_RANGE = re.compile(
    r"\s*(?P<tag>\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)\s*"
    r"(?:;\s*[qQ]=(?P<weight>0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*)?"
)
_MAX_RANGES = 50


@dataclass(frozen=True, slots=True)
class Texts:
    """What one page says. HTML; `button` and `note` are not on every page."""

    title: str
    text: str
    button: str | None = None
    note: str | None = None


@cache
def texts(language: str) -> dict[str, Texts]:
    """What every page says in one of LANGUAGES, by the page's name."""
    source = files("marketing_service.api").joinpath("texts", f"{language}.toml").read_text(encoding="utf-8")
    return {page: Texts(**said) for page, said in tomllib.loads(source).items()}


def preferred(accept_language: str) -> str:
    """The one of LANGUAGES that a reader who sends this Accept-Language likes best; a region counts as its language
    (RFC 4647 §3.4). What cannot be read is passed over."""
    weights: dict[str, float] = {}
    for item in accept_language.split(",", _MAX_RANGES)[:_MAX_RANGES]:
        if found := _RANGE.fullmatch(item):
            language = found["tag"].partition("-")[0].lower()
            weight = float(found["weight"] or 1)
            weights[language] = max(weight, weights.get(language, 0.0))
    # The sort is stable: of two that are liked as much, the reader's first one.
    for language in sorted(weights, key=lambda language: -weights[language]):
        if weights[language] == 0.0:
            break
        if language == "*":
            return next((ours for ours in LANGUAGES if ours not in weights), LANGUAGES[0])
        if language in LANGUAGES:
            return language
    return LANGUAGES[0]
