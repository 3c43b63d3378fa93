"""What a message's author may have overlooked: what mail programs clip, strip or warn of, and what stays empty."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from marketing_service.rendering.language import Escaping
from marketing_service.rendering.markup import Kind, Masked, attribute, has_attribute, tokens
from marketing_service.rendering.template import Field, Logic, NotRenderable, Template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marketing_service.rendering.template import MergeFields

GMAIL_CLIPS_AT = 102_000
"""Octets of HTML. Gmail names no exact figure; what is over 102 KB is cut off behind "View entire message", and with
it the unsubscribe link and the pixel."""

_INSECURE = re.compile(r"\s*http:", re.IGNORECASE)
_INSECURE_IN_TEXT = re.compile(r"\bhttp://", re.IGNORECASE)


class Severity(StrEnum):
    """How bad a finding is. An error keeps the campaign from being launched, unless somebody insists."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know before a launch: `code` is stable, `place` the field at fault (or part of the whole), `line`
    the first line of it, counted from 1, and `count` how many contacts or places there are."""

    code: str
    severity: Severity
    message: str
    place: str
    line: int | None = None
    count: int | None = None


def lint(html_body: str | None, text_body: str | None, *, html: str) -> list[Finding]:
    """What the bodies say about themselves; `html` is the HTML as somebody would get it."""
    findings = []
    if (size := len(html.encode())) > GMAIL_CLIPS_AT:
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
        if token.name in {"a", "area"} and _INSECURE.match(attribute(token.attributes, "href")):
            places["LINK_WITHOUT_HTTPS"].append(token.start)
        elif token.name == "img" and not has_attribute(token.attributes, "alt"):
            places["IMAGE_WITHOUT_ALT"].append(token.start)
        elif token.name == "style":
            places["STYLE_BLOCK"].append(token.start)
    for code, starts in places.items():
        line = masked.restored(masked.text[: starts[0]]).count("\n") + 1
        yield _finding(code, "htmlBody", line, len(starts))


def _finding(code: str, place: str, line: int, count: int) -> Finding:
    return Finding(code, Severity.WARNING, _MESSAGES[code], place, line, count)


# ── what a contact would get ─────────────────────────────────────────────────────────────────────────


class TrialProblem(StrEnum):
    """What may be wrong with a template for one contact."""

    EMPTY = "RENDERS_EMPTY"
    BROKEN = "CANNOT_BE_RENDERED"


class Trial:
    """Fills in what the author wrote for one contact after the other. Raises TemplateError.

    A template that has no tags, and shows something whatever its placeholders are, is not filled in: it cannot fail.
    """

    def __init__(self, subject: str, html_body: str | None, text_body: str | None) -> None:
        written = {"subject": subject, "htmlBody": html_body or "", "textBody": text_body or ""}
        templates = {
            place: Template(source, Escaping.VALUES if place == "htmlBody" else Escaping.NONE)
            for place, source in written.items()
            if source.strip()
        }
        self._doubtful = {
            place: template
            for place, template in templates.items()
            if any(isinstance(piece, Logic) for piece in template.pieces)
            or not any(isinstance(piece, str) and _shows(place, piece) for piece in template.pieces)
        }
        self.placeholders: dict[str, bool] = {}
        """Each placeholder used, and whether nothing stands in for it somewhere when it is empty."""
        for template in templates.values():
            bare = {piece.name for piece in template.pieces if isinstance(piece, Field) and not piece.when_empty}
            for name in template.names:
                self.placeholders[name] = self.placeholders.get(name, False) or name in bare

    def problems(self, fields: MergeFields) -> Iterator[tuple[str, TrialProblem]]:
        """The places that come to nothing for this contact, each with what is wrong."""
        if not self._doubtful:
            return
        values = fields.cleaned()
        for place, template in self._doubtful.items():
            try:
                rendered = template.fill(values)
            except NotRenderable:
                yield place, TrialProblem.BROKEN
            else:
                if not _shows(place, rendered):
                    yield place, TrialProblem.EMPTY


def _shows(place: str, rendered: str) -> bool:
    """Whether a reader sees anything of it."""
    if place != "htmlBody":
        return bool(rendered.strip())
    return any(
        (token.kind is Kind.TEXT and bool(rendered[token.start : token.end].strip()))
        or (token.kind is Kind.OPEN and token.name == "img")
        for token in tokens(rendered)
    )
