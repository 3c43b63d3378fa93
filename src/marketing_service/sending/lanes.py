"""The lanes of one campaign: they take the sends of its claimed batches to the relay, over one connection each."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from marketing_service.ledger.life import PauseReason
from marketing_service.ports import RelayDown
from marketing_service.rendering import NotRenderable

if TYPE_CHECKING:
    from marketing_service.ledger.batches import WaitingSend
    from marketing_service.ledger.handover import Result
    from marketing_service.ports import MailConnection, Mailer
    from marketing_service.sending.batch_run import BatchRun, Ready
    from marketing_service.sending.counts import Counts
    from marketing_service.sending.domains import Domains
    from marketing_service.sending.recorder import Recorder, Turn

log = structlog.get_logger(__name__)

_SHARE = 10
"""How many sends a lane takes to a connection before whoever waits for one, as other campaigns do, has its turn."""
_LONGEST_WAIT = 1.05
"""Seconds: a batch waits for the rates no longer than a second, and what is rounded up; else it is given back."""
_LONGEST_DROUGHT = 5.0
"""Seconds a batch may go without being allowed anything, however short each wait: it keeps others from a place."""


@dataclass(slots=True)
class _Ride:
    """A lane's time on one connection. Two slots share it: while the message of one is on its way, the other records
    what became of its last and marks its next, whose envelope then travels behind that message."""

    connection: MailConnection
    mailer: Mailer
    left: int = _SHARE
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def goes_on(self) -> bool:
        return self.connection.usable and (self.left > 0 or not self.mailer.is_waited_for)


class Lanes:
    """At most `most` lanes for all the batches of one campaign that this process holds, oldest batch first.

    A lane never has more than two marked sends, one in each slot. A lane whose connection dies takes another; when
    none can be had it ends.
    """

    def __init__(self, most: int, *, mailer: Mailer, recorder: Recorder, domains: Domains, counts: Counts) -> None:
        self._most = most
        self._mailer = mailer
        self._recorder = recorder
        self._domains = domains
        self._counts = counts
        self._runs: list[BatchRun] = []
        self._lanes: set[asyncio.Task[None]] = set()
        self._without_connection: set[asyncio.Task[None]] = set()
        self._rate_wait: float | None = None
        self._allowed_at = domains.now()

    async def send(self, run: BatchRun) -> None:
        """Send what waits in the batch, until nothing does, nothing more may be marked, or no connection can be had.

        Where a lane fails, all batches it may have worked for fail. Cancelled, the connections are closed.
        """
        if not self._runs:
            self._allowed_at = self._domains.now()
        self._runs.append(run)
        self._open_lanes()
        try:
            await run.finished()
        except asyncio.CancelledError:
            await self._close(self._lanes)
            raise
        finally:
            self._runs.remove(run)
            if not self._runs:
                await self._close(self._without_connection)

    def _open_lanes(self) -> None:
        waiting = sum(run.waiting for run in self._runs)
        for _ in range(min(self._most - len(self._lanes), waiting)):
            lane = asyncio.create_task(self._lane())
            self._lanes.add(lane)
            self._without_connection.add(lane)
            lane.add_done_callback(self._lane_ended)

    async def _close(self, lanes: set[asyncio.Task[None]]) -> None:
        closing = list(lanes)
        for lane in closing:
            lane.cancel()
        await asyncio.gather(*closing, return_exceptions=True)

    def _lane_ended(self, lane: asyncio.Task[None]) -> None:
        self._lanes.discard(lane)
        self._without_connection.discard(lane)
        if lane.cancelled():
            return
        error = lane.exception()
        if error is None:
            self._open_lanes()  # something may have come while it was ending
        elif not isinstance(error, RelayDown):
            for run in self._runs:
                run.fail(error)
        elif not self._lanes:
            self._relay_down(error)

    def _relay_down(self, down: RelayDown) -> None:
        """No lane is left. A batch that never had a connection says that the relay is down; else it may go on later."""
        log.warning("relay_down", phase=down.phase, error=down.detail)
        for run in self._runs:
            if not run.was_connected and run.hold is None:
                run.hold = PauseReason.RELAY_DOWN
            run.stop()

    async def _lane(self) -> None:
        lane = asyncio.current_task()
        if lane is None:
            raise RuntimeError("a lane runs as a task")
        while any(run.waiting for run in self._runs):
            async with self._mailer.connection() as connection:
                self._without_connection.discard(lane)
                for run in self._runs:
                    run.was_connected = True
                await self._ride(_Ride(connection, self._mailer))
            self._without_connection.add(lane)
            if self._rate_wait is not None:
                await self._wait_for_rate(self._rate_wait)

    async def _ride(self, ride: _Ride) -> None:
        other = asyncio.create_task(self._slot(ride))
        try:
            await self._slot(ride)
        except BaseException:
            other.cancel()
            await asyncio.gather(other, return_exceptions=True)
            raise
        await other

    async def _wait_for_rate(self, seconds: float) -> None:
        """Wait without a connection, which others may have a use for meanwhile."""
        if seconds > _LONGEST_WAIT or self._domains.now() + seconds - self._allowed_at > _LONGEST_DROUGHT:
            for run in self._runs:
                run.rest = seconds
                run.stop()
            return
        self._counts.rate_waits += 1
        await asyncio.sleep(seconds)
        self._rate_wait = None

    # ── one slot of a lane ──

    async def _slot(self, ride: _Ride) -> None:
        """Hand over one send after the other until nothing waits or the connection is used up."""
        ready = await self._mark_next(ride, None)
        while ready is not None:
            ready = await self._mark_next(ride, (ready.run, await self._hand_over(ride, ready)))

    async def _hand_over(self, ride: _Ride, ready: Ready) -> Result:
        connection = ride.connection
        if ride.turn.locked():
            connection.announce(ready.envelope)
        async with ride.turn:
            began = self._domains.now()
            hand_over = await connection.hand_over(ready.envelope)
        self._counts.handed_over(hand_over, self._domains.now() - began)
        return ready.run.result(ready, hand_over)

    async def _mark_next(self, ride: _Ride, done: tuple[BatchRun, Result] | None) -> Ready | None:
        """Record what is `done`, and mark the next send that can be handed over; None where there is none."""
        while True:
            wish = self._take() if ride.goes_on and self._rate_wait is None else None
            if wish is None and done is None:
                return None
            ready, done = await self._step(ride, wish, done)
            if ready is not None:
                return ready

    async def _step(
        self, ride: _Ride, wish: tuple[BatchRun, WaitingSend] | None, done: tuple[BatchRun, Result] | None
    ) -> tuple[Ready | None, tuple[BatchRun, Result] | None]:
        """One commit. Gives the send that is ready by it, or what is done without having been handed over."""
        results = [done[1]] if done is not None else []
        if wish is None:
            turn = await self._recorder.step(results)
        else:
            run, send = wish
            turn = await self._recorder.step(results, (run.claim, send.id))
        if done is not None:
            done[0].settled(done[1])
        if not turn.open:
            for other in self._runs:
                other.stop()
        return self._marked(ride, *wish, turn) if wish is not None else (None, None)

    def _marked(
        self, ride: _Ride, run: BatchRun, send: WaitingSend, turn: Turn
    ) -> tuple[Ready | None, tuple[BatchRun, Result] | None]:
        if turn.wait is not None:
            self._rate_wait = turn.wait
            run.put_back(send)
            return None, None
        self._allowed_at = self._domains.now()
        if turn.marked is None:
            run.passed_over()
            return None, None
        try:
            ready = run.ready(send, turn.marked, eight_bit=ride.connection.eight_bit)
        except NotRenderable as error:
            return None, (run, run.unmailable(send, turn.marked, error))
        ride.left -= 1
        return ready, None

    def _take(self) -> tuple[BatchRun, WaitingSend] | None:
        """The next send that may go now, of the oldest batch that has one."""
        for run in self._runs:
            send = run.take()
            if send is not None:
                return run, send
        return None
