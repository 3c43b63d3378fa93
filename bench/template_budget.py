"""Processor time of one message whose template uses its whole budget: `python -m bench.template_budget`.

Each shape is repeated until the budget is used up, so this is the most that a template can cost.
"""

from __future__ import annotations

from datetime import UTC, datetime
from time import process_time
from uuid import UUID, uuid4

from marketing_service.rendering import (
    MergeFields,
    MessageSource,
    NotRenderable,
    RecipientData,
    TemplateError,
    compile_message,
)

_LOOP = "{% for i in (1..100) %}"
_END = "{% endfor %}"
_HOSTILE = "a" * 400
SHAPES = {
    "conditions": _LOOP + "{% if firstName == 'a' %}x{% endif %}" + _END,
    "long conditions": _LOOP + "{% if " + " or ".join(["firstName == 'a'"] * 20) + " %}x{% endif %}" + _END,
    "placeholders": _LOOP + "{{ firstName }}" + _END,
    "placeholders without a loop": "{{ firstName }}",
    "two filters": _LOOP + "{{ firstName | upcase | downcase }}" + _END,
    "assign": _LOOP + "{% assign x = lastName %}" + _END,
    "capture": _LOOP + "{% capture x %}a{% endcapture %}" + _END,
    "empty loops": _LOOP + _END,
    "loops of one": "{% for i in (1..1) %}{% endfor %}",
    "loops in loops": "{% for i in (1..10) %}{% for j in (1..5) %}{% for k in (1..2) %}x" + _END * 3,
    "case": _LOOP + "{% case firstName %}{% when 'a', 'b', 'c' %}x{% when 'd' %}y{% endcase %}" + _END,
    "case with 100 branches": "{% case firstName %}" + "{% when 'a' %}x" * 100 + "{% endcase %}",
    "literal text": _LOOP + "lorem ipsum \n" * 20 + _END,
    "blank lines": _LOOP + "x\n\n\n\n" * 20 + _END,
    "spaces": _LOOP + "x   " * 20 + _END,
    "doubling": "{% assign x = 'a a a a a a a a ' %}" + "{% assign x = x | append: x %}" * 9 + "{{ x }}",
    "squish": _LOOP + "{{ '" + "a " * 200 + "' | squish | size }}" + _END,
    "url_encode": _LOOP + "{{ '" + "é" * 400 + "' | url_encode | size }}" + _END,
    "truncatewords": _LOOP + "{{ '" + "a " * 200 + "' | truncatewords: 1000 | size }}" + _END,
    "remove": _LOOP + f"{{{{ '{_HOSTILE}' | remove: 'aaaaaaaaaaaaaaaaabaaaaaaaaaaaaaaaaaa' | size }}}}" + _END,
    "contains": "{% capture x %}"
    + "a" * 2400
    + "{% endcapture %}{% capture y %}"
    + "a" * 600
    + "b"
    + "a" * 600
    + "{% endcapture %}"
    + _LOOP
    + "{% if x contains y %}{% endif %}"
    + _END,
    "comparison of long texts": "{% capture x %}" + "a" * 9000 + "{% endcapture %}{% assign y = x | append: 'b' %}"
    "{% for i in (1..5) %}{% if x == y %}{% endif %}" + _END,
}
_RECIPIENT = RecipientData(
    UUID(int=1),
    MergeFields("ann@example.com", "x" * 20, '"' * 1000, "é" * 1000),
    datetime(2026, 1, 1, tzinfo=UTC),
    "t" * 43,
    "t" * 43,
    "t" * 43,
)


def _milliseconds(unit: str, count: int) -> float | None:
    """Processor milliseconds for one message with `count` repetitions; None if it is refused."""
    source = MessageSource(
        uuid4(), "org", None, "news@example.com", None, "News", f"<p>{unit * count}</p>", None, track_clicks=True
    )
    try:
        message = compile_message(source, public_base_url="https://portal.example.com", one_click=True)
        message.render(_RECIPIENT)
    except (NotRenderable, TemplateError):
        return None
    best = 1e9
    for _ in range(3):
        started = process_time()
        message.render(_RECIPIENT)
        best = min(best, process_time() - started)
    return best * 1000


def main() -> None:
    """Print the processor time for each shape, at the largest number of repetitions that is not refused."""
    for name, unit in SHAPES.items():
        accepted, refused = 0, 1001
        milliseconds = 0.0
        while refused - accepted > max(1, accepted // 20):
            count = (accepted + refused) // 2
            if (found := _milliseconds(unit, count)) is None:
                refused = count
            else:
                accepted, milliseconds = count, found
        print(f"{name:<28} {accepted:>4} times   {milliseconds:8.2f} ms")


if __name__ == "__main__":
    main()
