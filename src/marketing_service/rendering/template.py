"""A parsed template as a list of pieces: literals, which are the same for everybody, and slots, which are filled."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import Path, StringLiteral
from liquid.builtin.output import OutputNode
from liquid.exceptions import LiquidError
from markupsafe import escape

from marketing_service.rendering.budget import MAX_OCTETS, Budget, MeteredContext, TemplateTooCostly, node_cost
from marketing_service.rendering.budget import NotRenderable as NotRenderable  # noqa: PLC0414 - other modules import it from here
from marketing_service.rendering.characters import one_line
from marketing_service.rendering.hrefs import encoded
from marketing_service.rendering.language import Escaping, TemplateError, bound_names, parse
from marketing_service.rendering.masking import ADDRESS_END, ADDRESS_START
from marketing_service.rendering.placeholders import BODY_PLACEHOLDERS, PLACEHOLDERS, UNSUBSCRIBE_URL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from liquid import BoundTemplate
    from liquid.ast import Node


class MergeFields(NamedTuple):
    """The fields of one contact that a template can use. A missing field is rendered as an empty string."""

    email: str | None
    first_name: str | None = None
    last_name: str | None = None
    company_name: str | None = None

    def cleaned(self) -> dict[str, str]:
        """The values by placeholder: each is one line, without control characters and without redundant white space."""
        return {
            "firstName": clean(self.first_name),
            "lastName": clean(self.last_name),
            "companyName": clean(self.company_name),
            "email": clean(self.email),
        }


SAMPLE = MergeFields("alex.sample@example.com", "Alex", "Sample", "Sample & Sons")
"""The sample contact for previews and checks."""

_MAX_VALUE = 1000
LONG = MergeFields(f"name@{'long.' * 48}com", *("Long name " * 100 for _ in range(3)))
"""A contact with the longest values, to check what a template can cost."""
SAMPLE_URL = "https://example.com/unsubscribe"
"""A value of `unsubscribeUrl` for checks."""
_LONG_URL = f"https://{'long.' * 100}com/unsubscribe"
_MAX_FILLED = 5 * _MAX_VALUE
"""Maximum octets of one placeholder: `"` becomes `&#34;` in HTML."""


def clean(value: str | None) -> str:
    """The value as one line of at most 1,000 characters that can be encoded in UTF-8 (see `characters`)."""
    if not value:
        return ""
    return " ".join(one_line(value)[:_MAX_VALUE].split())


class SlotContext:
    """The state for rendering one template for one contact: the values, and the variables that tags assign."""

    __slots__ = ("_liquid", "_parsed", "has_unsubscribe_link", "values")

    def __init__(self, parsed: BoundTemplate, values: Mapping[str, str]) -> None:
        self._parsed = parsed
        self._liquid: MeteredContext | None = None
        self.values = values
        self.has_unsubscribe_link = False
        """Whether a filled slot contains a link that the author has placed (see `placement`)."""

    @property
    def liquid(self) -> MeteredContext:
        if self._liquid is None:  # most templates do not need it
            self._liquid = MeteredContext(self._parsed, globals=self.values)
        return self._liquid

    @property
    def budget(self) -> Budget:
        """What the template may still use for this contact."""
        return self.liquid.budget


class Slot(Protocol):
    """A part of a template that is filled for each recipient."""

    def fill(self, context: SlotContext) -> str:
        """The text of the slot. Raises LiquidError, TemplateTooCostly."""
        ...


Piece = str | Slot


@dataclass(frozen=True, slots=True)
class PlaceholderSlot:
    """`{{ firstName }}`, with or without a literal default. Nearly all slots are of this kind; it is the fastest."""

    name: str
    escaped: bool = False
    when_empty: str = ""

    def fill(self, context: SlotContext) -> str:
        value = context.values[self.name]
        if not value:
            return self.when_empty
        return str(escape(value)) if self.escaped else value


@dataclass(frozen=True, slots=True)
class NodeSlot:
    """Any other slot, rendered by Liquid: a tag with its block, or an output with filters."""

    node: Node
    cost: int

    def fill(self, context: SlotContext) -> str:
        context.budget.spend_nodes(self.cost)
        buffer = context.liquid.get_buffer()
        try:
            self.node.render(context.liquid, buffer)
        except LiquidError as error:
            error.token = error.token or self.node.token
            raise
        return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class CollapsedSlot:
    """Several pieces of a derived text as one slot, with white space collapsed: a block that renders nothing leaves
    blank lines. The marked addresses are encoded."""

    pieces: tuple[Piece, ...]

    def fill(self, context: SlotContext) -> str:
        text = "".join(fill_counted(self.pieces, context))
        return collapse_whitespace(_ADDRESS.sub(lambda found: _encoded_address(found[1], context), text))


@dataclass(frozen=True, slots=True)
class AddressSlot:
    """The pieces of one address of a derived text as one slot. A blank in a value would end the address there."""

    pieces: tuple[Piece, ...]

    def fill(self, context: SlotContext) -> str:
        return _encoded_address("".join(fill(self.pieces, context)), context)


_MARKER = re.compile(f"([{ADDRESS_START}{ADDRESS_END}])")
_ADDRESS = re.compile(f"{ADDRESS_START}([^{ADDRESS_START}{ADDRESS_END}]*+){ADDRESS_END}")


def _encoded_address(address: str, context: SlotContext) -> str:
    found = encoded(address)
    context.budget.spend_text(found)
    return found


@dataclass(frozen=True, slots=True)
class TemplateSlot:
    """Another template as one slot, with its own variables and its own budget. If its text is blank, the slot is empty,
    without `before` and `after`."""

    template: Template
    before: str = ""
    after: str = ""

    def fill(self, context: SlotContext) -> str:
        text = self.template.fill(context.values)
        return f"{self.before}{text}{self.after}" if text.strip() else ""


_BLANK_LINES = re.compile(r"\n{3,}")
_SPACES = re.compile(r" (?<=\S ) +")  # it starts with the space, because `re` finds a literal faster


def collapse_whitespace(text: str) -> str:
    """The text with at most one blank line in a row, one space between words, and no space at the end of a line."""
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return _SPACES.sub(" ", _BLANK_LINES.sub("\n\n", text)).strip()


class Template:
    """A parsed template: `pieces` are its literals and slots in order, `names` the placeholders that it uses.

    The constructor takes the placeholders that the template can use, and raises TemplateError.
    """

    def __init__(
        self, source: str, escaping: Escaping, *, names: Collection[str] = PLACEHOLDERS, linked: bool = False
    ) -> None:
        self._escaping = escaping
        self._parsed = parse(source, escaping, names=names, linked=linked)
        analysis = self._parsed.analyze()
        self._assigned = set(analysis.locals)
        self.names = frozenset(analysis.globals)
        self.pieces: tuple[Piece, ...] = tuple(self._piece(node) for node in self._parsed.nodes)

    @property
    def bound(self) -> frozenset[str]:
        """The names that the template binds itself: they can differ from the values of the contact."""
        return bound_names(self._parsed)

    def slot_context(self, values: Mapping[str, str]) -> SlotContext:
        """The state for filling the slots for one contact."""
        return SlotContext(self._parsed, values)

    def fill(self, values: Mapping[str, str]) -> str:
        """The complete text for one contact. Raises NotRenderable."""
        context = self.slot_context(values)
        return "".join(fill_counted(self.pieces, context))

    def _piece(self, node: Node) -> Piece:
        if isinstance(node, ContentNode):
            return node.text
        if isinstance(node, OutputNode) and (name := self._field(node)):
            # Liquid renders the text for an empty value, so that both ways to fill a slot give the same result.
            when_empty = NodeSlot(node, 1).fill(self.slot_context(dict.fromkeys(BODY_PLACEHOLDERS, "")))
            return PlaceholderSlot(name, self._escaping is not Escaping.NONE, when_empty)
        return NodeSlot(node, node_cost(node))

    def _field(self, node: OutputNode) -> str | None:
        """The name of the placeholder, if the output is only that, with or without a literal default; else None."""
        expression = node.expression
        children = list(expression.children())
        filters = [filter_.name for filter_ in getattr(expression, "filters", None) or ()]
        if not isinstance(children[0], Path) or not all(isinstance(child, StringLiteral) for child in children[1:]):
            return None
        name = str(children[0])
        can_be_fast = name in BODY_PLACEHOLDERS and name not in self._assigned and filters in ([], ["default"])
        return name if can_be_fast else None


def derived_text_pieces(template: Template, *, has_tags: bool) -> tuple[Piece, ...]:
    """The pieces of a text that `text_from_html` made: its marked addresses are encoded and, if it has tags, its white
    space is collapsed."""
    return (CollapsedSlot(template.pieces),) if has_tags else tuple(_with_address_slots(template.pieces))


def _with_address_slots(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces, in which each marked address is one slot."""
    address: list[Piece] | None = None
    for piece in pieces:
        for part in _MARKER.split(piece) if isinstance(piece, str) else [piece]:
            if part == ADDRESS_START:
                address = []
            elif part == ADDRESS_END and address is not None:
                yield AddressSlot(tuple(address))
                address = None
            elif address is not None:
                address.append(part)
            elif part:
                yield part


def fill(pieces: Iterable[Piece], context: SlotContext) -> list[str]:
    """The text of each piece for one contact, in order. Raises NotRenderable."""
    try:
        return [piece if isinstance(piece, str) else piece.fill(context) for piece in pieces]
    except LiquidError as error:
        raise NotRenderable(f"The template cannot be filled in for this contact: {error.message}") from error


def fill_counted(pieces: Sequence[Piece], context: SlotContext) -> list[str]:
    """As `fill`, and counts the text of the placeholders (see `places_to_count`)."""
    filled = fill(pieces, context)
    if places := places_to_count(pieces):
        count_text(filled, places, context)
    return filled


def count_text(filled: Sequence[str], places: Iterable[int], context: SlotContext) -> None:
    """Count the texts at these places in the budget. Raises TemplateTooCostly."""
    for place in places:
        context.budget.spend_text(filled[place])


def places_to_count(pieces: Sequence[Piece]) -> list[int]:
    """The places of the placeholders whose text counts in the budget. Liquid counts the text of all other slots itself.

    Few placeholders cannot exceed the budget, so there is nothing to count then. The links that the service appends do
    not count.
    """
    slots = [piece for piece in pieces if not isinstance(piece, str)]
    without_liquid = all(isinstance(slot, PlaceholderSlot | TemplateSlot) for slot in slots)
    if len(slots) * _MAX_FILLED <= MAX_OCTETS and without_liquid:
        return []
    return [
        place
        for place, piece in enumerate(pieces)
        if isinstance(piece, PlaceholderSlot) and piece.name in BODY_PLACEHOLDERS
    ]


def validate_template(
    source: str,
    *,
    html: bool,
    names: Collection[str] = PLACEHOLDERS,
    contacts: Sequence[MergeFields] = (SAMPLE, MergeFields(None), LONG),
) -> None:
    """Check that the template is valid, uses only the placeholders `names`, and renders for these contacts: by default
    short, missing and long values.

    Raises TemplateError with a sentence and the position. Raises TemplateTooCostly.
    """
    template = Template(source, Escaping.VALUES if html else Escaping.NONE, names=names)
    for fields in contacts:
        try:
            template.fill(fields.cleaned() | {UNSUBSCRIBE_URL: _LONG_URL})
        except TemplateTooCostly:
            raise
        except NotRenderable as error:
            token = error.__cause__.token if isinstance(error.__cause__, LiquidError) else None
            raise TemplateError(str(error), source, token.start_index if token else 0) from None
