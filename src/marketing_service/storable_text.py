"""Text that PostgreSQL can store: its `text` type accepts neither NUL nor half of a surrogate pair."""

from __future__ import annotations


def storable(text: str) -> str:
    """The text with U+FFFD in place of each NUL and each unpaired surrogate.

    Two surrogates that form a pair become the one character they stand for.
    """
    if text.isprintable():  # neither NUL nor a surrogate is printable
        return text
    paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return paired.replace("\x00", "\ufffd")


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can store the text unchanged."""
    return storable(text) == text
