"""A bar chart as SVG, without a library."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_WIDTH, _BAR, _GAP, _LABELS = 820, 22, 12, 330
_TOP = 50


def draw_bars(title: str, values: Mapping[str, float]) -> str:
    """Draw one bar for each value, in the given order. Bars of this service (labels that begin with "ours") are green.

    The colours are readable on a light and on a dark background. Returns the SVG document.
    """
    height = _TOP + len(values) * (_BAR + _GAP) + 10
    largest = max(values.values(), default=1.0)
    rows = []
    for position, (label, value) in enumerate(values.items()):
        top = _TOP + position * (_BAR + _GAP)
        width = max(1.0, value / largest * (_WIDTH - _LABELS - 80))
        colour = "#2a7f62" if label.startswith("ours") else "#8a94a6"
        rows.append(
            f'<text x="{_LABELS - 10}" y="{top + 16}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="{_LABELS}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="3" fill="{colour}"/>'
            f'<text x="{_LABELS + width + 8:.1f}" y="{top + 16}">{value:,.0f}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="14" fill="#767676">\n'
        f'<text x="{_LABELS}" y="28" font-size="18">{escape(title)}</text>\n' + "\n".join(rows) + "\n</svg>\n"
    )
