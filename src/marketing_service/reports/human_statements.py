"""What the human-readable part adds to a machine-readable part whose fields do not say why."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from marketing_service.reports.reason_lines import Paragraphs
from marketing_service.reports.statements import statement_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marketing_service.reports.statements import Statement

_MAX_LINES = 60


class HumanStatements:
    """The statements of a human-readable text. They are worked out once for all recipients of the report."""

    def __init__(self, text: str) -> None:
        self._paragraphs = Paragraphs(text)

    def about(self, addresses: Sequence[str], status: str | None) -> list[Statement]:
        """The statement beside one of the addresses. Without one, the lines that clear the address.

        A text that is not beside the address can say that something else is the problem. It cannot blame the address.
        """
        beside = self._paragraphs.of(addresses)
        return [statement_of(beside, status)] if beside else list(self._clearing)

    @cached_property
    def _clearing(self) -> list[Statement]:
        lines = [line for line in self._paragraphs.lines if line.strip()][:_MAX_LINES]
        return [statement for line in lines if (statement := statement_of(line, None)).clears_address]
