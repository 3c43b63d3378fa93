"""A template taken apart: literal stretches, which are the same for everybody, and slots, which are filled in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from liquid import RenderContext
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import Path, StringLiteral
from liquid.builtin.output import OutputNode
from liquid.exceptions import LiquidError
from markupsafe import escape

from marketing_service.rendering.language import PLACEHOLDERS, Escaping, TemplateError, bound_names, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from liquid import BoundTemplate
    from liquid.ast import Node


class NotRenderable(Exception):
    """A message that cannot be made, for this contact or for anybody; the text is one plain sentence."""


class MergeFields(NamedTuple):
    """What the CRM says about one contact; what is missing is empty."""

    email: str | None
    first_name: str | None = None
    last_name: str | None = None
    company_name: str | None = None

    def cleaned(self) -> dict[str, str]:
        """The placeholders' values: each one line, without control characters or needless white space."""
        return {
            "firstName": clean(self.first_name),
            "lastName": clean(self.last_name),
            "companyName": clean(self.company_name),
            "email": clean(self.email),
        }


SAMPLE = MergeFields("alex.sample@example.com", "Alex", "Sample", "Sample & Sons")
"""The recipient of previews and tests."""

_MAX_VALUE = 1000
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def clean(value: str | None) -> str:
    """One line of at most 1,000 characters that can be written as UTF-8."""
    if not value:
        return ""
    if not value.isprintable():
        value = _UNPRINTABLE.sub(" ", value)
    return " ".join(value[:_MAX_VALUE].split())


class Filling:
    """One contact's values on their way into one template, with the variables that its tags assign."""

    __slots__ = ("_context", "_parsed", "values")

    def __init__(self, parsed: BoundTemplate, values: Mapping[str, str]) -> None:
        self._parsed = parsed
        self._context: RenderContext | None = None
        self.values = values

    @property
    def context(self) -> RenderContext:
        if self._context is None:  # most templates never need one
            self._context = RenderContext(self._parsed, globals=self.values)
        return self._context


class Slot(Protocol):
    """A place that is filled in per recipient."""

    def fill(self, filling: Filling) -> str:
        """The text that stands here. Raises LiquidError."""
        ...


Piece = str | Slot


@dataclass(frozen=True, slots=True)
class Field:
    """`{{ firstName }}`, with or without a default: nearly every placeholder there is, and the quickest."""

    name: str
    escaped: bool = False
    when_empty: str = ""

    def fill(self, filling: Filling) -> str:
        value = filling.values[self.name]
        if not value:
            return self.when_empty
        return str(escape(value)) if self.escaped else value


@dataclass(frozen=True, slots=True)
class Logic:
    """Anything else: a tag with all its block, or an output with filters."""

    node: Node

    def fill(self, filling: Filling) -> str:
        buffer = filling.context.get_buffer()
        try:
            self.node.render(filling.context, buffer)
        except LiquidError as error:
            error.token = error.token or self.node.token
            raise
        return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Squeezed:
    """Several pieces as one, without the blank space that blocks leave where they render nothing."""

    pieces: tuple[Piece, ...]

    def fill(self, filling: Filling) -> str:
        return squeeze("".join(p if isinstance(p, str) else p.fill(filling) for p in self.pieces))


_BLANK_LINES = re.compile(r"\n{3,}")
_SPACES = re.compile(r"(?<=\S) {2,}")


def squeeze(text: str) -> str:
    """At most one blank line in a row, one space between words, none at the end of a line."""
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return _SPACES.sub(" ", _BLANK_LINES.sub("\n\n", text)).strip()


class Template:
    """A parsed template; `pieces` are its literals and slots in order, `names` the placeholders in it. Raises
    TemplateError."""

    def __init__(self, source: str, escaping: Escaping, *, linked: bool = False) -> None:
        self._escaping = escaping
        self._parsed = parse(source, escaping, linked=linked)
        analysis = self._parsed.analyze()
        self._assigned = set(analysis.locals)
        self.names = frozenset(analysis.globals)
        self.pieces: tuple[Piece, ...] = tuple(self._piece(node) for node in self._parsed.nodes)

    @property
    def bound(self) -> frozenset[str]:
        """The names that mean something else somewhere in it than they do outside."""
        return bound_names(self._parsed)

    def filling(self, values: Mapping[str, str]) -> Filling:
        """The values of one contact, for the slots of one rendering."""
        return Filling(self._parsed, values)

    def fill(self, values: Mapping[str, str]) -> str:
        """The whole template for one contact. Raises NotRenderable."""
        filling = self.filling(values)
        return "".join(fill(self.pieces, filling))

    def _piece(self, node: Node) -> Piece:
        if isinstance(node, ContentNode):
            return node.text
        if isinstance(node, OutputNode) and (name := self._field(node)):
            # Liquid itself says what stands there for nobody, so the two ways cannot differ.
            when_empty = Logic(node).fill(self.filling(dict.fromkeys(PLACEHOLDERS, "")))
            return Field(name, self._escaping is not Escaping.NONE, when_empty)
        return Logic(node)

    def _field(self, node: OutputNode) -> str | None:
        """The placeholder's name, where the output is only that, or that and a literal default."""
        expression = node.expression
        children = list(expression.children())
        filters = [filter_.name for filter_ in getattr(expression, "filters", None) or ()]
        if not isinstance(children[0], Path) or not all(isinstance(child, StringLiteral) for child in children[1:]):
            return None
        name = str(children[0])
        return name if name in PLACEHOLDERS and name not in self._assigned and filters in ([], ["default"]) else None


def fill(pieces: Iterable[Piece], filling: Filling) -> list[str]:
    """Each piece for one contact, in order. Raises NotRenderable."""
    try:
        return [piece if isinstance(piece, str) else piece.fill(filling) for piece in pieces]
    except LiquidError as error:
        raise NotRenderable(f"The template cannot be filled in for this contact: {error.message}") from error


def validate_template(source: str, *, html: bool) -> None:
    """Raises TemplateError, with a sentence and the place, where the template cannot be used."""
    template = Template(source, Escaping.VALUES if html else Escaping.NONE)
    for fields in (SAMPLE, MergeFields(None)):
        try:
            template.fill(fields.cleaned())
        except NotRenderable as error:
            token = error.__cause__.token if isinstance(error.__cause__, LiquidError) else None
            raise TemplateError(str(error), source, token.start_index if token else 0) from None
