"""Opens: the loads of pixels, recorded in groups, each before its picture is returned."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from marketing_service.errors import Unavailable
from marketing_service.ledger.opens import Load, record_opens
from marketing_service.tracking.machines import machine_rules

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Call


class _Group:
    """Loads that are committed together, or given up together."""

    def __init__(self) -> None:
        self.loads: list[Load] = []
        self._waiting: list[asyncio.Future[None]] = []

    def add(self, load: Load) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.loads.append(load)
        self._waiting.append(waiter)
        return waiter

    def end(self, failure: Exception | None = None) -> None:
        for waiter in self._waiting:
            if waiter.done():
                continue
            if failure is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(failure)


class Opens:
    """Groups commits: the loads that come while earlier ones are being committed go into the next commit.

    There is one at a time. Two would wait for each other's campaigns, and each carry half as many.

    A group that is not committed within `patience` seconds of its first load is given up. Until then it waits in
    memory, afterwards nothing of it does, so a PostgreSQL that hangs fills nothing up.
    """

    def __init__(self, call: Call, *, patience: float) -> None:
        self._call = call
        self._patience = patience
        self._soon = machine_rules().soon
        self._collecting: _Group | None = None
        self._writer: asyncio.Task[None] | None = None

    async def record(self, send_id: UUID, machine_reason: str | None) -> None:
        """Returns once the load is committed, or there is no such send. Raises Unavailable."""
        group = self._collecting
        if group is None:
            group = self._collecting = _Group()
            asyncio.get_running_loop().call_later(self._patience, self._give_up, group)
            if self._writer is None:
                self._writer = asyncio.create_task(self._write())
        await group.add(Load(send_id, machine_reason))

    def _give_up(self, group: _Group) -> None:
        if group is self._collecting:
            self._collecting = None
        group.end(Unavailable("PostgreSQL"))

    async def _write(self) -> None:
        # Whoever is being read from the sockets in this turn of the loop goes into the group as well.
        await asyncio.sleep(0)
        while self._collecting is not None:
            group, self._collecting = self._collecting, None
            try:
                await record_opens(
                    self._call, group.loads, soon_seconds=self._soon.seconds, soon_reason=self._soon.reason
                )
            except Exception as error:  # noqa: BLE001 - handed to everybody who waits
                group.end(error)
            else:
                group.end()
        self._writer = None
