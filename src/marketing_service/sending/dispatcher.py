"""The lanes of one campaign: they take the sends of its claimed batches to the relay, over one connection each."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import structlog

from marketing_service.ledger.lifecycle import PauseReason
from marketing_service.ports import RelayDown
from marketing_service.rendering import NotRenderable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from marketing_service.ledger.batches import WaitingSend
    from marketing_service.ledger.commit_results import Marked, Result
    from marketing_service.ports import MailConnection, Mailer
    from marketing_service.sending.batch import BatchRun, Ready
    from marketing_service.sending.committer import Recorder, Turn
    from marketing_service.sending.stats import SendingStats
    from marketing_service.sending.throttle import DomainThrottle

log = structlog.get_logger(__name__)

_PLACES = 2
"""How many marked sends a connection accounts for: one on its way, and one whose envelope travels behind it."""
_SHARE = 10
"""How many sends a lane takes to a connection before whoever waits for one, as other campaigns do, has its turn."""
_MAX_WAIT = 1.05
"""Seconds: a batch waits for the rates no longer than a second, and what is rounded up; else it is given back."""
_MAX_DROUGHT = 5.0
"""Seconds a batch may go without being allowed anything, however short each wait: it keeps others from a place."""


class _Wanted(NamedTuple):
    run: BatchRun
    send: WaitingSend


class _Due(NamedTuple):
    """A marked send that is to be handed over."""

    run: BatchRun
    send: WaitingSend
    marked: Marked


class _Done(NamedTuple):
    run: BatchRun
    result: Result


class _Ride:
    """A lane's time on one connection, and the sends it has to hand over there."""

    def __init__(self, connection: MailConnection, mailer: Mailer) -> None:
        self.connection = connection
        self.given: deque[_Due] = deque()
        self.ready: deque[Ready] = deque()
        """Those with an envelope: the first goes next, or is on its way; the second is announced behind it."""
        self._mailer = mailer
        self._left = _SHARE
        self._woken: asyncio.Future[None] | None = None

    @property
    def goes_on(self) -> bool:
        return self.connection.usable and (self._left > 0 or not self._mailer.is_waited_for)

    @property
    def load(self) -> int:
        return len(self.given) + len(self.ready)

    @property
    def is_idle(self) -> bool:
        return self._woken is not None

    def give(self, due: _Due) -> None:
        self.given.append(due)
        self._left -= 1

    async def idle(self) -> None:
        """Wait to be woken."""
        self._woken = asyncio.get_running_loop().create_future()
        try:
            await self._woken
        finally:
            self._woken = None

    def wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


class Lanes:
    """At most `most` lanes for all the batches of one campaign that this process holds, oldest batch first.

    There are never more than two marked sends for each connection. They are marked, and recorded, in one commit after
    the other, each for all lanes. A lane whose connection dies takes another; when none can be had it ends.
    """

    def __init__(
        self, most: int, *, mailer: Mailer, recorder: Recorder, domains: DomainThrottle, stats: SendingStats
    ) -> None:
        self._most = most
        self._mailer = mailer
        self._recorder = recorder
        self._domains = domains
        self._stats = stats
        self._runs: list[BatchRun] = []
        self._lanes: set[asyncio.Task[None]] = set()
        self._without_connection: set[asyncio.Task[None]] = set()
        self._rides: list[_Ride] = []
        self._asked: Sequence[_Wanted] = ()
        """What a commit that is under way, or not yet dealt out, is to mark."""
        self._spare: deque[_Due] = deque()
        """What is marked, and no ride could take."""
        self._done: list[_Done] = []
        """What is to be recorded."""
        self._writer: asyncio.Task[None] | None = None
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
        self._write()
        try:
            await run.finished()
        except asyncio.CancelledError:
            await self._close(self._lanes)
            raise
        finally:
            self._runs.remove(run)
            if not self._runs:
                await self._close(self._without_connection)

    # ── opening and ending ──

    def _open_lanes(self) -> None:
        waiting = len(self._spare) + sum(run.waiting for run in self._runs)
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
        if not self._lanes:
            self._give_up_spare()
        if lane.cancelled():
            return
        error = lane.exception()
        if error is None:
            self._open_lanes()  # something may have come while it was ending
        elif not isinstance(error, RelayDown):
            self._fail(error)
        elif not self._lanes:
            self._relay_down(error)

    def _fail(self, error: BaseException) -> None:
        for run in self._runs:
            run.fail(error)
            run.stop()

    def _relay_down(self, down: RelayDown) -> None:
        """No lane is left. A batch that never had a connection says that the relay is down; else it may go on later."""
        log.warning("relay_down", phase=down.phase, error=down.detail)
        for run in self._runs:
            if not run.was_connected and run.hold is None:
                run.hold = PauseReason.RELAY_DOWN
            run.stop()

    def _give_up_spare(self) -> None:
        """Nobody is left to hand over what is marked."""
        while self._spare:
            run, send, marked = self._spare.popleft()
            self._note(run, run.not_begun(send, marked))

    # ── a lane ──

    async def _lane(self) -> None:
        lane = asyncio.current_task()
        if lane is None:
            raise RuntimeError("a lane runs as a task")
        while self._spare or any(run.waiting for run in self._runs):
            async with self._mailer.connection() as connection:
                self._without_connection.discard(lane)
                for run in self._runs:
                    run.was_connected = True
                await self._ride(_Ride(connection, self._mailer))
            self._without_connection.add(lane)
            if self._rate_wait is not None:
                await self._wait_for_rate(self._rate_wait)

    async def _wait_for_rate(self, seconds: float) -> None:
        """Wait without a connection, which others may have a use for meanwhile."""
        if seconds > _MAX_WAIT or self._domains.now() + seconds - self._allowed_at > _MAX_DROUGHT:
            for run in self._runs:
                run.rest = seconds
                run.stop()
            return
        self._stats.rate_waits += 1
        await asyncio.sleep(seconds)
        self._rate_wait = None

    # ── a ride ──

    async def _ride(self, ride: _Ride) -> None:
        """Hand over one send after the other until nothing comes or the connection is used up."""
        self._rides.append(ride)
        try:
            while await self._has_next(ride):
                ready = ride.ready[0]
                began = self._domains.now()
                submission = await ride.connection.submit(ready.envelope)
                self._stats.submitted(submission, self._domains.now() - began)
                ride.ready.popleft()
                self._note(ready.run, ready.run.result(ready, submission))
        finally:
            self._rides.remove(ride)

    async def _has_next(self, ride: _Ride) -> bool:
        """Whether there is a send with its envelope; waits while one may come."""
        while not ride.ready:
            if not ride.given:
                if self._spare and ride.goes_on:
                    ride.give(self._spare.popleft())
                elif not (ride.goes_on and self._more_may_come):
                    return False
                else:
                    self._write()
                    await ride.idle()
            self._load(ride)
        return True

    def _load(self, ride: _Ride) -> None:
        """Make the envelopes of what the ride was given, and announce all but the one that goes next."""
        while ride.given:
            run, send, marked = ride.given.popleft()
            try:
                ready = run.ready(send, marked, eight_bit=ride.connection.eight_bit)
            except NotRenderable as error:
                self._note(run, run.unmailable(send, marked, error))
                continue
            if ride.ready:
                ride.connection.announce(ready.envelope)
            ride.ready.append(ready)

    # ── the ledger ──

    @property
    def _more_may_come(self) -> bool:
        return bool(self._asked) or (self._rate_wait is None and any(run.waiting for run in self._runs))

    def _note(self, run: BatchRun, result: Result) -> None:
        """Have it recorded with the next commit."""
        self._done.append(_Done(run, result))
        self._write()

    def _write(self) -> None:
        if self._writer is None:
            self._writer = asyncio.create_task(self._commits())

    async def _commits(self) -> None:
        """One commit after the other, for as long as there is something to record, or to mark and room for it.

        What a commit has marked is dealt out once the next one is on its way: PostgreSQL works while the lanes do.
        """
        deal: Callable[[], None] | None = None
        try:
            while True:
                done, self._done = self._done, []
                wanted = self._wishes()
                turn = self._turn(done, wanted) if done or wanted else None
                if deal is not None:
                    deal()
                self._asked = wanted
                if turn is not None:
                    deal = partial(self._deal, done, wanted, await turn)
                elif deal is not None:
                    deal = None  # it may have made room, or something to record
                else:
                    break
        except Exception as error:  # noqa: BLE001 - handed to everybody who waits
            self._asked = ()
            self._fail(error)
        finally:
            self._writer = None
        self._wake()

    def _turn(self, done: Sequence[_Done], wanted: Sequence[_Wanted]) -> asyncio.Task[Turn]:
        results = [one.result for one in done]
        return asyncio.create_task(self._recorder.step(results, [(run.claim, send.id) for run, send in wanted]))

    def _wishes(self) -> list[_Wanted]:
        """The sends that are to be marked next: as many as there is room for, of the oldest batches that have any."""
        wishes: list[_Wanted] = []
        if self._rate_wait is not None:
            return wishes
        places = _PLACES * sum(ride.goes_on for ride in self._rides)
        room = places - len(self._asked) - len(self._spare) - sum(ride.load for ride in self._rides)
        for run in self._runs:
            while len(wishes) < room and (send := run.take()) is not None:
                wishes.append(_Wanted(run, send))
        return wishes

    def _deal(self, done: Sequence[_Done], wanted: Sequence[_Wanted], turn: Turn) -> None:
        """What became of a commit: `done` is settled, and what is marked of `wanted` goes to the lanes."""
        self._asked = ()
        for run, result in done:
            run.settled(result)
        if not turn.open:
            for run in self._runs:
                run.stop()
        if turn.granted:
            self._allowed_at = self._domains.now()
        if turn.granted < len(wanted):
            self._rate_wait = turn.wait
            for run, send in reversed(wanted[turn.granted :]):
                run.put_back(send)
        for run, send in wanted[: turn.granted]:
            marked = turn.marked.get(send.id)
            if marked is None:
                run.passed_over()
            else:
                self._spare.append(_Due(run, send, marked))
        self._deal_spare()
        self._open_lanes()  # for what waits again, or was marked for a lane that has ended since

    def _deal_spare(self) -> None:
        """Two to each lane that has none, so that the second's envelope can travel behind the first; then one to each
        that has one."""
        for ride in sorted(self._rides, key=lambda ride: not ride.is_idle):
            if not ride.goes_on:
                continue
            while self._spare and ride.load < _PLACES:
                ride.give(self._spare.popleft())
            if not ride.is_idle:
                self._load(ride)
        self._wake()

    def _wake(self) -> None:
        """Those that have something to do, and all of them where nothing more comes."""
        more_may_come = self._more_may_come
        for ride in self._rides:
            if ride.given or not more_may_come:
                ride.wake()
