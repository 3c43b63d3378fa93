"""Reading an author's text is linear: four times the text costs about four times the work, the memory and the output.

The work is counted: calls of functions, and the characters that patterns and methods of strings read. Nothing is timed,
so the result is the same on a busy machine.
"""

from __future__ import annotations

import importlib
import re
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from marketing_service.addresses import is_deliverable
from marketing_service.rendering import NotRenderable, header_text_problem, lint, public_url
from marketing_service.rendering.character_references import unescape
from marketing_service.rendering.characters import without_byte_order_mark
from marketing_service.rendering.derive import html_from_text, text_from_html
from marketing_service.rendering.headers import ascii_domain, mailbox_field, text_field
from marketing_service.rendering.hrefs import parse_href, plain_address
from marketing_service.rendering.links import TrackedLinks
from marketing_service.rendering.markup import Masked, attribute, footer_place, has_attribute, tokens
from marketing_service.rendering.merge_tags import find_merge_tags
from marketing_service.rendering.placement import place_link
from marketing_service.rendering.preheader import preheader_place
from marketing_service.rendering.template import collapse_whitespace
from tests.support.hostile_shapes import SHAPES
from tests.support.regex_steps import Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


SIZE = 300
MAX_RATIO = 6.0
MAX_OUTPUT = 12
"""Characters of a result for each character of the text."""
MODULES = (
    "character_references",
    "characters",
    "derive",
    "headers",
    "hrefs",
    "links",
    "lint",
    "masking",
    "merge_tag_syntax",
    "merge_tags",
    "placement",
    "preheader",
    "template",
    "tokenizer",
    "web_urls",
)


def read_links(text: str) -> str:
    masked = Masked(text)
    links = TrackedLinks(own="https://portal.example/", bound=frozenset(), is_text=False, known=None)
    return masked.edited(links.edits(masked))


def read_footer(text: str) -> str:
    masked = Masked(text)
    return masked.edited([footer_place(masked)])


def read_placement(text: str) -> str:
    masked = Masked(text)
    place_link(masked, html=True)
    return masked.restored(masked.text)


def read_preheader_place(text: str) -> str:
    masked = Masked(text)
    return masked.edited([preheader_place(masked)])


def read_domain(text: str) -> str:
    try:
        return ascii_domain(text.rpartition("@")[2])
    except NotRenderable:
        return ""


def read_public_url(text: str) -> str:
    try:
        return public_url(f"https://{text}")
    except ValueError:
        return ""


READERS: dict[str, Callable[[str], str]] = {
    "tokens": lambda text: str(sum(1 for _ in tokens(text))),
    "attributes": lambda text: attribute(text, "href") + str(has_attribute(text, "alt")),
    "footer": read_footer,
    "placed link": read_placement,
    "place of the preheader": read_preheader_place,
    "links": read_links,
    "derived text": lambda text: text_from_html(text)[0],
    "derived HTML": html_from_text,
    "lint": lambda text: str(lint(text, text, html=text)),
    "start of a body": without_byte_order_mark,
    "merge tags in HTML": lambda text: str(len(find_merge_tags(text, html=True))),
    "merge tags in a text": lambda text: str(len(find_merge_tags(text))),
    "references": unescape,
    "address of a link": parse_href,
    "address in a text": lambda text: plain_address(parse_href(text)),
    "public address": read_public_url,
    "white space": collapse_whitespace,
    "header field": lambda text: (
        text_field("Subject", text).decode() + mailbox_field("From", text, "a@b.example").decode()
    ),
    "header text": lambda text: header_text_problem(text) or "",
    "address": lambda text: f"{is_deliverable(text)}{read_domain(text)}",
}


class CountedPattern:
    """A pattern that adds the characters that it reads to a counter."""

    def __init__(self, pattern: re.Pattern[str], work: Work) -> None:
        self._pattern = pattern
        self._steps = Steps(pattern, limit=10**8)
        self._work = work

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pattern, name)

    def search(self, text: str, position: int = 0, end: int | None = None) -> re.Match[str] | None:
        end = len(text) if end is None else end
        found = self._pattern.search(text, position, end)
        self._work.done += (found.end() if found else end) - position + 1
        return found

    def match(self, text: str, position: int = 0) -> re.Match[str] | None:
        return self._matched(self._pattern.match(text, position), text, position)

    def fullmatch(self, text: str) -> re.Match[str] | None:
        return self._matched(self._pattern.fullmatch(text), text, 0)

    def _matched(self, found: re.Match[str] | None, text: str, position: int) -> re.Match[str] | None:
        if found:
            self._work.done += found.end() - position + 1
        else:  # the time of a failure cannot be seen from outside
            self._work.done += self._steps.match(text[position:])
        return found

    def sub(self, by: Any, text: str) -> str:
        self._work.done += len(text) + 1
        return self._pattern.sub(by, text)

    def split(self, text: str) -> list[str]:
        self._work.done += len(text) + 1
        return self._pattern.split(text)

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        self._work.done += len(text) + 1
        return self._pattern.finditer(text)

    def findall(self, text: str) -> list[str]:
        self._work.done += len(text) + 1
        return self._pattern.findall(text)


class Work:
    """Counts the work of a reader."""

    def __init__(self) -> None:
        self.done = 0

    def of(self, reader: Callable[[str], str], text: str) -> int:
        self.done, before = 0, sys.getprofile()
        sys.setprofile(self._called)
        try:
            reader(text)
        finally:
            sys.setprofile(before)
        return self.done

    def _called(self, frame: Any, event: str, called: Any) -> None:
        if frame.f_globals.get("__name__") == __name__ or frame.f_globals.get("__name__", "").startswith(
            ("re.", "tests.")
        ):
            return
        if event == "call":
            self.done += 1
        elif event == "c_call":
            owner = getattr(called, "__self__", None)
            # These three look only at the start, the end, or from a position onwards.
            partial = called.__name__ in {"startswith", "endswith", "find"}
            self.done += len(owner) if isinstance(owner, str | bytes) and not partial else 1


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    counter = Work()
    for name in MODULES:
        module = importlib.import_module(f"marketing_service.rendering.{name}")
        for attribute_name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                monkeypatch.setattr(module, attribute_name, CountedPattern(value, counter))
    return counter


@pytest.mark.parametrize("name", READERS)
def test_the_work_of_a_reader_grows_with_the_text(name: str, work: Work) -> None:
    reader = READERS[name]
    ratios = {
        shape: work.of(reader, text(4 * SIZE)) / max(work.of(reader, text(SIZE)), SIZE)
        for shape, text in SHAPES.items()
    }
    assert {shape: round(ratio, 1) for shape, ratio in ratios.items() if ratio > MAX_RATIO} == {}


@pytest.mark.parametrize("name", READERS)
def test_the_memory_and_the_output_grow_with_the_text(name: str) -> None:
    reader = READERS[name]
    for shape, text in SHAPES.items():
        peaks = []
        for source in (text(5 * SIZE), text(20 * SIZE)):
            tracemalloc.start()
            output = reader(source)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert len(output) <= MAX_OUTPUT * len(source) + 2_000, shape
        assert peaks[1] <= MAX_RATIO * max(peaks[0], 100_000), shape


def test_a_reader_that_is_quadratic_is_found(work: Work) -> None:
    frames: dict[str, Any] = {"__name__": "elsewhere"}
    exec("def read(text): return str(sum(text[place:].count('<') for place in range(len(text))))", frames)
    assert work.of(frames["read"], "<" * 4 * SIZE) / work.of(frames["read"], "<" * SIZE) > MAX_RATIO


def test_there_are_enough_shapes() -> None:
    assert len(SHAPES) >= 40


@pytest.mark.parametrize("digits", [8, 5_000, 1_000_000])
@pytest.mark.parametrize("start", ["&#", "&#x"])
def test_a_long_number_of_a_character_is_no_error(start: str, digits: int) -> None:
    assert unescape(f"a{start}{'1' * digits};b") == "a\ufffdb"
    assert unescape(f"{start}{'0' * digits}{'41' if 'x' in start else '65'};") == "A"
    assert "\ufffd" in text_from_html(f"<p>{start}{'9' * digits};</p><img alt='{start}{'9' * digits}'>")[0]
    assert parse_href(f"{start}{'9' * digits};") == "\ufffd"


def test_deep_lists_are_indented_up_to_a_limit() -> None:
    text, _ = text_from_html("<ul><li>x" * 100)
    assert max(len(line) - len(line.lstrip()) for line in text.split("\n")) == 14
