"""Opens: loads of the pixel, recorded in groups. Each is committed before its response is sent."""

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
    """Loads that are committed together, or fail together."""

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
    """Groups commits: loads that arrive during a commit go into the next commit.

    Only one commit runs at a time. Two would wait for each other's locks on campaigns, and each would commit half as
    many loads.

    A group that is not committed within `timeout` seconds of its first load fails, and is removed from memory. So a
    PostgreSQL that hangs does not fill the memory.
    """

    def __init__(self, call: Call, *, timeout: float) -> None:
        self._call = call
        self._timeout = timeout
        self._soon = machine_rules().soon
        self._collecting: _Group | None = None
        self._writer: asyncio.Task[None] | None = None

    async def record(self, send_id: UUID, machine_reason: str | None) -> None:
        """Returns when the load is committed, or when there is no such send. Raises Unavailable."""
        group = self._collecting
        if group is None:
            group = self._collecting = _Group()
            asyncio.get_running_loop().call_later(self._timeout, self._time_out, group)
            if self._writer is None:
                self._writer = asyncio.create_task(self._write())
        await group.add(Load(send_id, machine_reason))

    def _time_out(self, group: _Group) -> None:
        if group is self._collecting:
            self._collecting = None
        group.end(Unavailable("PostgreSQL"))

    async def _write(self) -> None:
        # Requests that the event loop reads from their sockets in this iteration join the group too.
        await asyncio.sleep(0)
        while self._collecting is not None:
            group, self._collecting = self._collecting, None
            try:
                await record_opens(
                    self._call, group.loads, soon_seconds=self._soon.seconds, soon_reason=self._soon.reason
                )
            except Exception as error:  # noqa: BLE001 - raised in every task that waits for the group
                group.end(error)
            else:
                group.end()
        self._writer = None
