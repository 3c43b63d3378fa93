"""Checks for what an author may have overlooked: mail programs strip or clip parts, or a text is empty for some."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from marketing_service.rendering.derive import text_from_html
from marketing_service.rendering.hrefs import parse_href
from marketing_service.rendering.language import Escaping
from marketing_service.rendering.masking import Masked
from marketing_service.rendering.merge_tags import find_merge_tags
from marketing_service.rendering.placeholders import BODY_PLACEHOLDERS, PLACEHOLDERS, UNSUBSCRIBE_URL
from marketing_service.rendering.placement import Placement
from marketing_service.rendering.template import SAMPLE_URL, NodeSlot, NotRenderable, PlaceholderSlot, Template
from marketing_service.rendering.tokenizer import Kind, has_attribute, tokens, values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from marketing_service.rendering.merge_tags import MergeTag
    from marketing_service.rendering.message import CompiledMessage, MessageSource
    from marketing_service.rendering.template import MergeFields

GMAIL_CLIPS_AT = 102_000
"""Octets of HTML. Gmail documents no exact limit. It hides what is over 102 KB behind "View entire message", and with
it the unsubscribe link and the pixel."""

_INSECURE = re.compile("http:", re.IGNORECASE)
_INSECURE_IN_TEXT = re.compile(r"\bhttp://", re.IGNORECASE)


class Severity(StrEnum):
    """The severity of a finding. An error prevents a launch, unless the user confirms it."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem to know before a launch.

    `code` is stable. `place` is the field that has the problem, or another part such as `installation`. `line` is the
    first line with the problem, counted from 1. `count` is the number of contacts or occurrences.
    """

    code: str
    severity: Severity
    message: str
    place: str
    line: int | None = None
    count: int | None = None


def lint(html_body: str | None, text_body: str | None, *, html: str) -> list[Finding]:
    """The findings in the bodies. `html` is the HTML as a recipient gets it."""
    findings = []
    if (size := len(html.encode("utf-8", "surrogatepass"))) > GMAIL_CLIPS_AT:
        message = f"The HTML is {size / 1000:,.0f} KB long; Gmail cuts off what is over 102 KB, the end with it."
        findings.append(Finding("CLIPPED_BY_GMAIL", Severity.WARNING, message, "htmlBody"))
    if html_body and html_body.strip():
        findings += _html_findings(html_body)
        if not (text_body or "").strip():
            message = "There is no plain text; one is made out of the HTML."
            findings.append(Finding("NO_PLAIN_TEXT", Severity.NOTE, message, "textBody"))
    if found := [match.start() for match in _INSECURE_IN_TEXT.finditer(text_body or "")]:
        line = (text_body or "").count("\n", 0, found[0]) + 1
        findings.append(_finding("LINK_WITHOUT_HTTPS", "textBody", line, len(found)))
    return findings


_MESSAGES = {
    "LINK_WITHOUT_HTTPS": "Links should begin with https: mail programs warn of others.",
    "IMAGE_WITHOUT_ALT": 'Images should have an alt text, or alt="" for mere decoration: many do not see them.',
    "STYLE_BLOCK": "Many mail programs strip <style>: write the CSS into the elements themselves.",
}


def _html_findings(html_body: str) -> Iterator[Finding]:
    masked = Masked(html_body)
    places: dict[str, list[int]] = defaultdict(list)
    for token in tokens(masked.text):
        if token.kind is not Kind.OPEN:
            continue
        if token.name in {"a", "area"} and any(
            _INSECURE.match(parse_href(masked.text[value.start : value.end])) for value in values(token, "href")
        ):
            places["LINK_WITHOUT_HTTPS"].append(token.start)
        elif token.name == "img" and not has_attribute(token.attributes, "alt"):
            places["IMAGE_WITHOUT_ALT"].append(token.start)
        elif token.name == "style":
            places["STYLE_BLOCK"].append(token.start)
    for code, starts in places.items():
        line = masked.restored(masked.text[: starts[0]]).count("\n") + 1
        yield _finding(code, "htmlBody", line, len(starts))


_MAX_MERGE_TAGS = 20
"""Different merge tags of a field that get a finding each."""


def merge_tag_findings(written: Mapping[str, str]) -> Iterator[Finding]:
    """The merge tags of other systems in what the author wrote (field → text), with their first line. A bounded number
    of findings."""
    for place, text in written.items():
        is_template = place != _NO_TEMPLATE
        tags = find_merge_tags(text, html=place == "htmlBody", is_template=is_template)
        for tag in tags[:_MAX_MERGE_TAGS]:
            message = _merge_tag_message(tag) if is_template else _NOT_REPLACED.format(tag.text)
            yield Finding("MERGE_TAG", Severity.WARNING, message, place, tag.line, tag.count)
        if more := tags[_MAX_MERGE_TAGS:]:
            message = f"There are {len(more):,} more merge tags of other systems. Replace or remove them."
            count = sum(tag.count for tag in more)
            yield Finding("MERGE_TAG", Severity.WARNING, message, place, more[0].line, count)


_NO_TEMPLATE = "fromName"
"""The field that recipients see and that is no template."""
_NOT_REPLACED = '"{}" is not replaced in this field, so recipients would see it. Remove it.'


def _merge_tag_message(tag: MergeTag) -> str:
    what = f"is a merge tag of {tag.system}" if tag.system else "looks like a merge tag of another system"
    instead = f"Write {{{{ {tag.instead} }}}} instead." if tag.instead else "Replace or remove it."
    return f'"{tag.text}" {what}. This service does not replace it, so recipients would see it. {instead}'


def _finding(code: str, place: str, line: int, count: int) -> Finding:
    return Finding(code, Severity.WARNING, _MESSAGES[code], place, line, count)


_WORDS = re.compile(r"\w++")


def missing_postal_address(source: MessageSource, message: CompiledMessage) -> Iterator[Finding]:
    """The findings about bodies without the postal address. Only bodies in which the author has placed the unsubscribe
    link are examined, because the others have a footer. Only words are compared, because the author chooses the lines
    and the commas."""
    if not source.postal_address:
        return
    address = _words(source.postal_address)
    bodies = (
        ("htmlBody", text_from_html(source.html_body or "")[0], message.html_placement),
        ("textBody", source.text_body or "", message.text_placement),
    )
    for place, text, placement in bodies:
        if text.strip() and placement is not Placement.NOBODY and address not in _words(text):
            sentence = "It has its own unsubscribe link, so no footer is appended, and it lacks your postal address."
            yield Finding("NO_POSTAL_ADDRESS", Severity.WARNING, sentence, place)


def _words(text: str) -> str:
    return f" {' '.join(_WORDS.findall(text.casefold()))} "


# ── rendering for each contact ───────────────────────────────────────────────────────────────────────


class RenderProblem(StrEnum):
    """A problem of a template for one contact."""

    EMPTY = "RENDERS_EMPTY"
    BROKEN = "CANNOT_BE_RENDERED"


class RenderCheck:
    """Renders the author's templates for many contacts and reports the problems. Raises TemplateError.

    A template without tags that shows some literal text is not rendered, because it cannot fail or be empty.
    """

    def __init__(
        self, subject: str, html_body: str | None, text_body: str | None, preheader: str | None = None
    ) -> None:
        written = {
            "subject": subject,
            "preheader": preheader or "",
            "htmlBody": html_body or "",
            "textBody": text_body or "",
        }
        templates = {
            place: Template(
                source,
                Escaping.VALUES if place == "htmlBody" else Escaping.NONE,
                names=BODY_PLACEHOLDERS if place.endswith("Body") else PLACEHOLDERS,
            )
            for place, source in written.items()
            if source.strip()
        }
        self._to_render = {
            place: template
            for place, template in templates.items()
            if any(isinstance(piece, NodeSlot) for piece in template.pieces)
            or not any(isinstance(piece, str) and _is_visible(place, piece) for piece in template.pieces)
        }
        self.placeholders: dict[str, bool] = {}
        """The values of the contact that are used, and for each whether it has no default somewhere."""
        for template in templates.values():
            bare = {
                piece.name for piece in template.pieces if isinstance(piece, PlaceholderSlot) and not piece.when_empty
            }
            for name in template.names & set(PLACEHOLDERS):
                self.placeholders[name] = self.placeholders.get(name, False) or name in bare

    def problems(self, fields: MergeFields) -> Iterator[tuple[str, RenderProblem]]:
        """The places that are empty or cannot be rendered for this contact, each with its problem."""
        if not self._to_render:
            return
        values = fields.cleaned() | {UNSUBSCRIBE_URL: SAMPLE_URL}
        for place, template in self._to_render.items():
            try:
                rendered = template.fill(values)
            except NotRenderable:
                yield place, RenderProblem.BROKEN
            else:
                # A message without a preheader is complete.
                if place != "preheader" and not _is_visible(place, rendered):
                    yield place, RenderProblem.EMPTY


def _is_visible(place: str, rendered: str) -> bool:
    """Whether a reader sees anything of the rendered text."""
    if place != "htmlBody":
        return bool(rendered.strip())
    return any(
        (token.kind is Kind.TEXT and bool(rendered[token.start : token.end].strip()))
        or (token.kind is Kind.OPEN and token.name == "img")
        for token in tokens(rendered)
    )
