"""The budget of one template for one recipient, counted in nodes and octets: it is the same on every machine.

Loops, branches and filters multiply, so the length of a template says little about the work for one message. The budget
is spent where nodes are rendered: each block has a meter as its first node (see `add_meters`), and each text that
Liquid reads or makes is counted by the render context.
"""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

from liquid import RenderContext
from liquid.ast import BlockNode, ConditionalBlockNode, Node
from liquid.builtin.expressions import FilteredExpression
from liquid.builtin.expressions.logical import ContainsExpression
from liquid.builtin.tags.case_tag import MultiExpressionBlockNode
from liquid.builtin.tags.for_tag import ForNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TextIO

    from liquid.expression import Expression
    from liquid.token import Token

MAX_NODES = 3_000
"""Maximum number of nodes that one template evaluates for one recipient: tags, placeholders, and the parts of their
expressions, each time they are evaluated. A node takes one or two microseconds. Templates without loops have fewer."""
MAX_OCTETS = 200_000
"""Maximum number of octets (UTF-8) that the placeholders and tags of one template read and make for one recipient. The
author's own text outside of tags does not count. Gmail shows about 102,000 octets of a message."""

_FREE = 1_000
"""Characters of a variable that are read without being counted: a value of a contact has at most as many."""
_FOR = 10
"""Nodes that the start of a loop counts as: it takes ten times as long as a node."""
_SEARCH = 64
"""Steps of a search that count as one octet. In the worst case a search compares every character of the text with every
character of what it looks for."""
_SLOW_FILTERS = {"squish": 4, "url_encode": 2}
"""How often these filters count the text that they read: they are slower than the others by this factor."""


class NotRenderable(Exception):
    """A message cannot be rendered, for this contact or for all. The text is one plain sentence."""


class TemplateTooCostly(NotRenderable):
    """A template needs more than its budget for one recipient."""


class Budget:
    """What one template may still use for one recipient."""

    __slots__ = ("_nodes", "_octets")

    def __init__(self) -> None:
        self._nodes = MAX_NODES
        self._octets = MAX_OCTETS

    @property
    def used(self) -> tuple[int, int]:
        """The nodes and the octets used up to now."""
        return MAX_NODES - self._nodes, MAX_OCTETS - self._octets

    def spend_nodes(self, count: int) -> None:
        """Count evaluated nodes. Raises TemplateTooCostly."""
        self._nodes -= count
        if self._nodes < 0:
            raise TemplateTooCostly(
                f"The template is too costly: for one message it evaluates more than {MAX_NODES:,} nodes. Every tag, "
                "placeholder and part of a condition is a node, each time it is evaluated. Use shorter loops or fewer "
                "branches."
            )

    def spend_octets(self, count: int) -> None:
        """Count octets. Raises TemplateTooCostly."""
        self._octets -= count
        if self._octets < 0:
            raise TemplateTooCostly(
                f"The template is too costly: for one message its placeholders and tags make or read more than "
                f"{MAX_OCTETS:,} octets of text. Use shorter loops, or repeat less text."
            )

    def spend_text(self, text: object) -> None:
        """Count the octets of a text; other values are free. Raises TemplateTooCostly."""
        if isinstance(text, str):
            self.spend_octets(_octets(text))


def _octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


class MeteredContext(RenderContext):
    """A render context that counts every text that is read from a variable, made by a filter, or written."""

    __slots__ = ("budget",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.budget = Budget()

    def get(self, path: list[object], **options: Any) -> object:
        value = super().get(path, **options)
        if isinstance(value, str) and len(value) > _FREE:
            self.budget.spend_text(value)
        return value

    def filter(self, name: str, token: Token | None) -> Callable[..., object]:
        function = super().filter(name, token)
        budget, factor = self.budget, _SLOW_FILTERS.get(name, 1)

        def counted(left: object, *arguments: object) -> object:
            if isinstance(left, str):
                budget.spend_octets(factor * _octets(left))
                if name == "remove":
                    budget.spend_octets(_search_cost(left, arguments[0]))
            value = function(left, *arguments)
            budget.spend_text(value)
            return value

        return counted

    def get_buffer(self, buf: TextIO | None = None) -> StringIO:  # noqa: ARG002 - the base class's signature
        return _MeteredBuffer(self.budget)


class _MeteredBuffer(StringIO):
    """A buffer that counts what is written."""

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._budget = budget

    def write(self, text: str) -> int:
        self._budget.spend_octets(_octets(text))
        return super().write(text)


def _search_cost(text: object, part: object) -> int:
    return len(text) * len(part) // _SEARCH if isinstance(text, str) and isinstance(part, str) else 0


class MeteredContains(ContainsExpression):
    """`a contains b`, which counts the steps of the search."""

    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        if isinstance(context, MeteredContext):
            context.budget.spend_octets(_search_cost(self.left.evaluate(context), self.right.evaluate(context)))
        return super().evaluate(context)


class _Meter(Node):
    """The first node of a block: it counts the nodes of the block each time the block is rendered."""

    __slots__ = ("cost",)

    def __init__(self, token: Token, cost: int) -> None:
        super().__init__(token)
        self.cost = cost

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:  # noqa: ARG002 - the base class's
        if isinstance(context, MeteredContext):
            context.budget.spend_nodes(self.cost)
        return 0

    def __str__(self) -> str:
        return ""


def add_meters(nodes: Iterable[Node]) -> None:
    """Put a meter into each of these nodes that is a block."""
    for node in nodes:
        if isinstance(node, BlockNode):
            node.nodes.insert(0, _Meter(node.token, 1 + sum(node_cost(child) for child in node.nodes)))


def node_cost(node: Node) -> int:
    """The nodes that rendering this one evaluates, without the content of its blocks. All conditions of a tag count,
    although the first true one can end the search: so the cost does not depend on the contact."""
    cost = 1 + sum(map(_expression_cost, node.expressions()))
    if isinstance(node, ForNode):
        cost += _FOR
    for child in node.children(None):  # type: ignore[arg-type] # only tags that load templates use the context
        if isinstance(child, ConditionalBlockNode | MultiExpressionBlockNode):
            cost += 1 + sum(map(_expression_cost, child.expressions()))
    return cost


def _expression_cost(expression: Expression) -> int:
    filters = len(expression.filters or ()) if isinstance(expression, FilteredExpression) else 0
    return 1 + 2 * filters + sum(map(_expression_cost, expression.children()))
