"""One scenario, from the launch to the comparison of the ledgers, and the table of all scenarios."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from tests.chaos.reconcile import Reconciled, reconcile
from tests.support.ledger import campaign_row

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from uuid import UUID

    from marketing_service.db import Database
    from tests.support.relay import Relay

_REPORT_SECONDS = 2.0
"""The time between two reports of the progress."""


@dataclass
class Outcome:
    """The result of a scenario. `faults` counts the faults that took effect."""

    scenario: str
    recipients: int = 0
    faults: int = 0
    lost: int = 0
    duplicated: int = 0
    unconfirmed: int = 0
    seconds: float = 0.0

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.scenario,
            *(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)[1:]),
        )


class Scenario:
    """Reports its progress, and compares the two ledgers at its end."""

    def __init__(self, name: str, *, say: Callable[[str], None], note: Callable[[Outcome], None]) -> None:
        self.name = name
        self.faults = 0
        self.say = say
        self._note = note
        self._began = self._noted_at = time.monotonic()
        self._noted_faults = 0
        self._said = 0.0

    def tell(self, relay: Relay) -> None:
        """Report the progress, at most every _REPORT_SECONDS."""
        now = time.monotonic()
        if now - self._said >= _REPORT_SECONDS:
            self._said = now
            self.say(f"  {self.name}: {self.faults} faults, {len(relay.accepted)} messages, {now - self._began:.0f} s")

    async def until(self, reached: Callable[[], Awaitable[bool]], relay: Relay, *, seconds: float) -> None:
        """Wait until `reached` returns true. Fails after `seconds`."""
        deadline = time.monotonic() + seconds
        while not await reached():
            assert time.monotonic() < deadline, f"{self.name}: not reached within {seconds} s"
            self.tell(relay)
            await asyncio.sleep(0.05)

    async def until_sent(self, owner: Database, campaign_id: UUID, relay: Relay, *, seconds: float) -> None:
        """Wait until the campaign is SENT."""

        async def sent() -> bool:
            return bool((await campaign_row(owner, campaign_id))["status"] == "SENT")

        await self.until(sent, relay, seconds=seconds)

    async def reconciled(self, owner: Database, campaign_id: UUID, relay: Relay) -> Reconciled:
        """Compare the two ledgers and note the outcome. Fails if a send is lost or the ledgers disagree."""
        found = await reconcile(owner, campaign_id, relay)
        now = time.monotonic()
        outcome = Outcome(
            self.name,
            recipients=found.counters["recipients"],
            faults=self.faults - self._noted_faults,
            lost=len(found.lost),
            duplicated=found.duplicates,
            unconfirmed=found.counters["unconfirmed"],
            seconds=now - self._noted_at,
        )
        self._noted_at, self._noted_faults = now, self.faults
        self._note(outcome)
        assert found.lost == []
        assert found.contradictions == []
        return found


def table(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """The lines of the table; the outcomes of scenarios with the same name are added up."""
    sums: dict[str, Outcome] = {}
    for outcome in outcomes:
        sums[outcome.scenario] = sums[outcome.scenario] + outcome if outcome.scenario in sums else outcome
    rows = [[field.name for field in fields(Outcome)]]
    rows += [
        [f"{value:.1f}" if isinstance(value, float) else str(value) for value in vars(outcome).values()]
        for outcome in sums.values()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for first, *rest in rows:
        yield "  ".join(
            [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        )
