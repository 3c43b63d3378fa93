"""What a statement answers, with the methods of SQLAlchemy's results that the statements' callers use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Record(tuple[Any, ...]):  # noqa: SLOT001 - a tuple has no room for slots
    """A row of an answer: a tuple whose values have names, too. It can be ordered, and looked up as a mapping."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, **values: Any) -> Self:
        record = cls(values.values())
        record.names = tuple(values)
        return record

    def __getattr__(self, name: str) -> Any:
        try:
            return self[self.names.index(name)]
        except ValueError:
            raise AttributeError(name) from None

    def __getitem__(self, place: Any) -> Any:
        return super().__getitem__(self.names.index(place) if isinstance(place, str) else place)

    def keys(self) -> Sequence[str]:
        return self.names


class Answer:
    """The rows of an answer; `rowcount` is the number of rows that the statement moved, if it returns none."""

    def __init__(self, rows: Sequence[Record] = (), rowcount: int = 0) -> None:
        self.rowcount = rowcount
        self._rows = list(rows)

    @classmethod
    def value(cls, value: Any) -> Self:
        return cls([Record.of(value=value)])

    def __iter__(self) -> Iterator[Record]:
        return iter(self._rows)

    def all(self) -> list[Record]:
        return self._rows

    def mappings(self) -> Self:
        return self

    def scalars(self) -> Iterator[Any]:
        return (row[0] for row in self._rows)

    def one_or_none(self) -> Record | None:
        return self._rows[0] if self._rows else None

    def one(self) -> Record:
        return self._rows[0] if self._rows else _no_row()

    def scalar_one(self) -> Any:
        return self.one()[0]

    def scalar_one_or_none(self) -> Any:
        return self._rows[0][0] if self._rows else None


def _no_row() -> NoReturn:
    raise LookupError("the statement returned no row")
