"""A page of a list, and where the next page starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Page(Generic[T, K]):
    """Some items of a list. `next` is the key after which the next page starts; None for the last page."""

    items: Sequence[T]
    next: K | None
