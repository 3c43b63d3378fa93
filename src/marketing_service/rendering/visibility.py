"""Which parts of a page a reader does not see, because of the element around them."""

from __future__ import annotations

IN_HEAD = frozenset({"base", "head", "html", "link", "meta", "noscript", "script", "style", "template", "title"})
"""The elements of a head. Any other element ends a head that has no end tag."""
_NOT_SHOWN = frozenset({"head", "select", "template"})


class HiddenElement:
    """The element that hides the current place from readers, if any. It is told every tag in the order of the page."""

    def __init__(self) -> None:
        self.name: str | None = None

    def open(self, name: str) -> bool:
        """An element begins. Returns whether its start tag is at a place that is shown."""
        if self.name == "head" and name not in IN_HEAD:
            self.name = None
        if self.name is not None:
            return False
        if name in _NOT_SHOWN:
            self.name = name
        return True

    def close(self, name: str) -> bool:
        """An element ends. Returns whether its end tag is at a place that is shown."""
        if self.name is None:
            return True
        if name == self.name:
            self.name = None
        return False
