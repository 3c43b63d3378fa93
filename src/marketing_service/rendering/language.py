"""The template language: a subset of Liquid with four placeholders, a few tags and filters, and limits.

A template cannot load anything, and it can loop only over a range of literal numbers. So every template is cheap to
render, and renders for every contact. Most checks are static: an invalid template is refused when it is saved.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from liquid import BoundTemplate, Environment, RenderContext, Tag
from liquid.builtin.content import ContentNode, Literal
from liquid.builtin.expressions import (
    BooleanExpression,
    FilteredExpression,
    KeywordArgument,
    Path,
    PositionalArgument,
    StringLiteral,
)
from liquid.builtin.expressions.logical import ContainsExpression, LogicalAndExpression, LogicalOrExpression
from liquid.builtin.expressions.primitive import IntegerLiteral, RangeLiteral
from liquid.builtin.filters import misc, string
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags import (
    assign_tag,
    capture_tag,
    case_tag,
    comment_tag,
    for_tag,
    if_tag,
    inline_comment_tag,
    unless_tag,
)
from liquid.exceptions import LiquidError, LiquidSyntaxError
from liquid.token import TOKEN_ILLEGAL, TOKEN_TAG
from markupsafe import escape

from marketing_service.rendering.budget import MeteredContains, add_meters
from marketing_service.rendering.markup import LINK
from marketing_service.rendering.placeholders import CLICK, PLACED_URL, PLACEHOLDERS, UNSUBSCRIBE_URL

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from typing import TextIO

    from liquid import TokenStream
    from liquid.ast import Node
    from liquid.expression import Expression

MAX_TAG = 500
"""Maximum number of characters in a placeholder or tag. It also bounds the nesting of expressions, and so the stack."""
MAX_TAGS = 1000
"""Maximum number of placeholders and tags in a template."""
MAX_ITERATIONS = 100
"""Maximum number of iterations of a loop. For nested loops, it limits the product of their lengths."""
MAX_TAG_TEXT = 50_000
"""Maximum number of characters in all placeholders and tags together. It bounds the time to parse a template."""


class TemplateError(Exception):
    """A template that cannot be used. The text is a sentence for its author, with line and column.

    `line` and `column` count from 1. `position` is the offset in characters, from 0.
    """

    def __init__(self, sentence: str, source: str, position: int) -> None:
        self.position = min(max(position, 0), len(source))
        self.line = source.count("\n", 0, self.position) + 1
        self.column = self.position - (source.rfind("\n", 0, self.position) + 1) + 1
        self.message = f"{sentence} (line {self.line}, column {self.column})"
        super().__init__(self.message)


class Escaping(Enum):
    """Which texts are escaped for HTML when a template is rendered."""

    NONE = "none"
    """None: for a subject or a plain text."""
    VALUES = "values"
    """The values of the contact: for HTML that the author wrote."""
    OUTPUT = "output"
    """The values and the author's string literals (`default: "R&D"`): for HTML made from a plain text."""


class _Filter(NamedTuple):
    """A filter and how many values it takes after its colon."""

    function: Callable[..., object]
    min_values: int = 0
    max_values: int = 0
    takes_number: bool = False
    """Whether its first value is a number of characters or words."""


_TAG_NAMES = "if, unless, case, for, assign, capture, comment"


def _identity(value: object) -> object:
    return value


@cache
def _filters() -> dict[str, _Filter]:
    """The filters of the language. None makes a text much longer than its arguments, even in a long chain."""
    return {
        "append": _Filter(string.append, 1, 1),
        "capitalize": _Filter(string.capitalize),
        "default": _Filter(misc.default, 1, 1),
        "downcase": _Filter(string.downcase),
        "escape": _Filter(string.escape),
        "prepend": _Filter(string.prepend, 1, 1),
        "remove": _Filter(string.remove, 1, 1),
        "size": _Filter(misc.size),
        "slice": _Filter(string.slice_, 1, 2, takes_number=True),
        "squish": _Filter(string.squish),
        "strip": _Filter(string.strip),
        "truncate": _Filter(string.truncate, 0, 2, takes_number=True),
        "truncatewords": _Filter(string.truncatewords, 0, 2, takes_number=True),
        "upcase": _Filter(string.upcase),
        "url_encode": _Filter(string.url_encode),
    }


class _UnknownTag(Tag):
    """Refuses every tag that is not part of the language."""

    name = TOKEN_ILLEGAL
    block = False

    def parse(self, stream: TokenStream) -> Node:
        token = stream.expect(TOKEN_TAG)
        raise LiquidSyntaxError(f'The tag "{token.value}" cannot be used here; the tags are {_TAG_NAMES}', token=token)


_TAGS: tuple[type[Tag], ...] = (
    Literal,
    Output,
    _UnknownTag,
    assign_tag.AssignTag,
    capture_tag.CaptureTag,
    case_tag.CaseTag,
    comment_tag.CommentTag,
    for_tag.ForTag,
    if_tag.IfTag,
    inline_comment_tag.InlineCommentTag,
    unless_tag.UnlessTag,
)


class _EscapedOutput(Output):
    """An output whose string literals are text, not HTML: they are escaped."""

    def parse(self, stream: TokenStream) -> OutputNode:
        node = super().parse(stream)
        if isinstance(node.expression, FilteredExpression):
            for literal in _output_literals(node.expression):
                literal.value = str(escape(literal.value))
        return node


def _output_literals(expression: FilteredExpression) -> Iterator[StringLiteral]:
    if isinstance(expression.left, StringLiteral):
        yield expression.left
    for filter_ in expression.filters or ():
        if filter_.name in {"append", "default", "prepend", "truncate", "truncatewords"}:
            yield from (arg.value for arg in filter_.args if isinstance(arg.value, StringLiteral))


class _Language(Environment):
    """The Liquid environment with the tags, filters and limits of the language."""

    loop_iteration_limit = MAX_ITERATIONS
    escaping = Escaping.NONE

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:  # noqa: ARG002 - the base class's signature
        for tag in _TAGS:
            self.add_tag(tag)
        for name, filter_ in _filters().items():
            self.add_filter(name, filter_.function)
        if self.escaping is Escaping.OUTPUT:
            self.add_tag(_EscapedOutput)
        elif self.escaping is Escaping.NONE:
            # A plain text is not escaped.
            self.add_filter("escape", _identity)


class _LinkedContent(ContentNode):
    """Literal text that can contain the markers of tracked links. They are replaced by click URLs."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        click = context.resolve(CLICK)
        return buffer.write(LINK.sub(lambda found: f"{click}/{found[1]}", self.text))


class _LinkedLiteral(Literal):
    node_class = _LinkedContent


class _TextOutput(_Language):
    """The language with Escaping.OUTPUT."""

    escaping = Escaping.OUTPUT


@cache
def _language(escaping: Escaping, *, linked: bool) -> Environment:
    language: Environment = (
        _TextOutput(autoescape=True)
        if escaping is Escaping.OUTPUT
        else _Language(autoescape=escaping is Escaping.VALUES)
    )
    if linked:
        language.add_tag(_LinkedLiteral)
    return language


def parse(
    source: str, escaping: Escaping, *, names: Collection[str] = PLACEHOLDERS, linked: bool = False
) -> BoundTemplate:
    """Parse and check a template. `names`: the placeholders that it can use. `linked`: its tracked links have been
    replaced by markers.

    Raises TemplateError if the template is not valid in the language.
    """
    _check_delimiters(source)
    try:
        template = _language(escaping, linked=linked).from_string(source)
        _check_names(template, source, names)
        nodes = list(_nodes(template.nodes, RenderContext(template)))
        for node in nodes:
            _check_bound_names(node, source)
            for expression in node.expressions():
                _check_expression(expression, source)
                if isinstance(expression, BooleanExpression):
                    expression.expression = _adapted(expression.expression)
        add_meters(nodes)
    except LiquidError as error:
        raise _template_error(error, source) from None
    return template


def _template_error(error: LiquidError, source: str) -> TemplateError:
    position = error.token.start_index if error.token is not None else -1
    reason = str(error.message)
    sentence = reason if reason[:1].isupper() else f"The template cannot be read: {reason}"
    return TemplateError(sentence, source, len(source) if position < 0 else position)


_START = re.compile(r"\{\{|\{%-?\s*(?P<name>\w*)")
# The lexer handles these tags itself, so they must be refused before it runs.
_VERBATIM = {"raw", "endraw", "doc", "enddoc"}


def _check_delimiters(source: str) -> None:
    """Check the number, the length and the end of all placeholders and tags in one pass.

    This protects the lexer, which takes very long for some invalid templates.
    """
    position = count = length = 0
    while found := _START.search(source, position):
        start = found.start()
        end = source.find("}}" if source.startswith("{{", start) else "%}", start + 2, start + 2 + MAX_TAG)
        count += 1
        if found["name"] in _VERBATIM:
            raise TemplateError(
                f'The tag "{found["name"]}" cannot be used here; the tags are {_TAG_NAMES}', source, start
            )
        if end < 0:
            raise TemplateError(
                f'"{source[start : start + 2]}" is not closed within {MAX_TAG} characters', source, start
            )
        if count > MAX_TAGS:
            raise TemplateError(f"There are more than {MAX_TAGS} placeholders and tags", source, start)
        length += end + 2 - start
        if length > MAX_TAG_TEXT:
            raise TemplateError(f"Placeholders and tags have more than {MAX_TAG_TEXT:,} characters", source, start)
        position = end + 2


def _check_names(template: BoundTemplate, source: str, names: Collection[str]) -> None:
    unknown = [
        (variable.span.index, name)
        for name, variables in template.analyze().globals.items()
        if name not in names
        for variable in variables
    ]
    if unknown:
        position, name = min(unknown)
        if name == UNSUBSCRIBE_URL:
            raise TemplateError(f'"{name}" can be used only in the HTML and the text of a message', source, position)
        near = next((known for known in names if known.lower() == name.lower().replace("_", "")), None)
        hint = f"did you mean {near}?" if near else f"the placeholders are {', '.join(names)}"
        raise TemplateError(f'"{name}" is not a placeholder; {hint}', source, position)


def _check_bound_names(node: Node, source: str) -> None:
    # A value of the author under this name would look like a link that opts out, and none would be appended.
    if bound := {UNSUBSCRIBE_URL, PLACED_URL} & _names_bound_by(node):
        raise TemplateError(f'"{min(bound)}" cannot be given another value', source, node.token.start_index)


def _names_bound_by(node: Node) -> set[str]:
    return {str(name) for name in (*node.template_scope(), *node.block_scope())}


def bound_names(template: BoundTemplate) -> frozenset[str]:
    """The names that the template itself binds, with `assign`, `capture` or `for`."""
    return frozenset(name for node in _nodes(template.nodes, RenderContext(template)) for name in _names_bound_by(node))


def _nodes(nodes: Iterable[Node], context: RenderContext) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _nodes(node.children(context), context)


def _check_expression(expression: Expression, source: str) -> None:
    if isinstance(expression, Path):
        _check_path(expression, source)
    elif isinstance(expression, RangeLiteral):
        _check_range(expression, source)
    elif isinstance(expression, FilteredExpression):
        for filter_ in expression.filters or ():
            _check_filter(filter_.name, filter_.args, source, filter_.token.start_index)
    for child in expression.children():
        _check_expression(child, source)


def _check_path(path: Path, source: str) -> None:
    # All values are strings. Only their size and the counters of a loop can be read as properties.
    if len(path.path) > 1 and path.path[0] != "forloop" and path.path[1:] != ["size"]:
        raise TemplateError(
            f'"{path}" is not a placeholder; {path.path[0]} has no parts', source, path.token.start_index
        )


class _EmptyAsNilPath(Path):
    """A variable used as a condition, as in `{% if firstName %}`. An empty string is nil there, and so not true."""

    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        value = super().evaluate(context)
        return None if value == "" else value


def _adapted(condition: Expression) -> Expression:
    """The condition, in which an empty variable is nil, and a search counts its steps."""
    if isinstance(condition, LogicalAndExpression | LogicalOrExpression):
        condition.left, condition.right = _adapted(condition.left), _adapted(condition.right)
    elif isinstance(condition, ContainsExpression):
        return MeteredContains(condition.token, condition.left, condition.right)
    elif isinstance(condition, Path):
        return _EmptyAsNilPath(condition.token, condition.path)
    return condition


def _check_range(literal: RangeLiteral, source: str) -> None:
    start, stop = literal.start, literal.stop
    if (
        not isinstance(start, IntegerLiteral)
        or not isinstance(stop, IntegerLiteral)
        or stop.value - start.value >= MAX_ITERATIONS
    ):
        raise TemplateError(
            f"A range needs two whole numbers, at most {MAX_ITERATIONS} apart", source, literal.token.start_index
        )


def _check_filter(name: str, arguments: list[KeywordArgument | PositionalArgument], source: str, position: int) -> None:
    known = _filters().get(name)
    if known is None:
        raise TemplateError(f'"{name}" is not a filter; the filters are {", ".join(_filters())}', source, position)
    if not known.min_values <= len(arguments) <= known.max_values or any(
        isinstance(a, KeywordArgument) for a in arguments
    ):
        raise TemplateError(f'The filter "{name}" takes {_value_count(known)} after its colon', source, position)
    numbers = arguments if name == "slice" else arguments[:1]
    if known.takes_number and not all(isinstance(argument.value, IntegerLiteral) for argument in numbers):
        raise TemplateError(f'The filter "{name}" needs a whole number after its colon', source, position)


def _value_count(known: _Filter) -> str:
    if known.max_values == 0:
        return "no value"
    if known.min_values == known.max_values:
        return "one value"
    return f"{known.min_values} to {known.max_values} values"
