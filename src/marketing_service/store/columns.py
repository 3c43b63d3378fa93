"""What the definitions of the tables share: columns, defaults and constraints that many of them have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Column, DateTime, Integer, text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from enum import StrEnum

    from marketing_service.store.states import SendStatus

NOW = text("now()")
ZERO = text("0")
NEW_ID = text("uuidv7()")


def moment(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True))


def counter(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=ZERO)


def one_of(column: str, values: type[StrEnum]) -> str:
    """The condition of a constraint: the column has one of the values."""
    return f"{column} IN ({', '.join(repr(value.value) for value in values)})"


def sum_of(statuses: Iterable[SendStatus]) -> str:
    """The sum of the counters of these states."""
    return " + ".join(status.value.lower() for status in statuses)
