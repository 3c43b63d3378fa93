"""An event loop with a virtual clock, in which a seed decides what runs next.

Time passes only when nothing is ready: then the clock moves to the next timer. So an hour takes no time, and two runs
with the same seed do the same, step by step.

Every callback belongs to a process (`run_in`): what a process starts belongs to it, too. The callbacks of a process
that is frozen or killed do not run.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    import random
    from collections import deque
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Process:
    """A process of the simulated world."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stopped = False
        """Whether it is frozen or killed."""
        self.parked: list[asyncio.Handle] = []
        """What it would have run since it was stopped."""

    def __repr__(self) -> str:
        return self.name


WORLD = Process("world")
"""All that is not one of the service's processes: the servers, the networks and the people."""
_process: contextvars.ContextVar[Process] = contextvars.ContextVar("process", default=WORLD)


def current_process() -> Process:
    """The process that runs now."""
    return _process.get()


class NothingHappens(Exception):
    """No callback is ready, and no timer is set: the world waits for ever."""


class VirtualLoop(asyncio.BaseEventLoop):
    """`order` decides what runs next; `shuffle` (0 to 1) is how often it is not the callback that is ready longest."""

    _ready: deque[asyncio.Handle]
    _stopping: bool
    connector: Callable[[Callable[[], asyncio.Protocol]], Awaitable[tuple[Any, asyncio.Protocol]]]
    """Opens a simulated connection to the relay."""

    def __init__(self, order: random.Random, *, shuffle: float) -> None:
        super().__init__()
        self.steps = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self._order = order
        self._shuffle = shuffle
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        """A heap. The number decides between timers that are due at the same time."""
        self._timers_set = 0
        self._clock_resolution = 1e-9
        self._contexts: dict[Process, contextvars.Context] = {}
        self.set_task_factory(self._new_task)

    def time(self) -> float:
        return self._now

    def _new_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        self.tasks.append(task)
        return task

    # ── processes ──

    def context_of(self, process: Process) -> contextvars.Context:
        """The context in which the callbacks of this process run."""
        context = self._contexts.get(process)
        if context is None:
            context = contextvars.Context()
            context.run(_process.set, process)
            self._contexts[process] = context
        return context

    def run_in(self, process: Process, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task of this process."""
        return self.create_task(coroutine, context=self.context_of(process))

    def call_in(self, process: Process, seconds: float, call: Callable[..., object], *arguments: Any) -> None:
        """Call a function of this process after some time."""
        self.call_at(self._now + seconds, call, *arguments, context=self.context_of(process))

    def stop_process(self, process: Process) -> None:
        """Freeze or kill it."""
        process.stopped = True

    def continue_process(self, process: Process) -> None:
        """Let a frozen process run what came meanwhile."""
        process.stopped = False
        self._ready.extend(process.parked)
        process.parked = []

    # ── one step ──

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._timers_set += 1
        heapq.heappush(self._timers, (when, self._timers_set, timer))
        return timer

    def _run_once(self) -> None:
        while not self._stopping:
            self._step()

    def _step(self) -> None:
        ready = self._ready
        while not ready:
            self._next_timers()
        if len(ready) > 1 and self._order.random() < self._shuffle:
            place = int(self._order.random() * len(ready))
            handle = ready[place]
            del ready[place]
        else:
            handle = ready.popleft()
        if handle._cancelled:
            return
        context: contextvars.Context = handle._context  # type: ignore[attr-defined]
        process = context.get(_process, WORLD)
        if process.stopped:
            process.parked.append(handle)
            return
        self.steps += 1
        handle._run()

    def _next_timers(self) -> None:
        """Move the clock to the next timer."""
        timers = self._timers
        if not timers:
            raise NothingHappens
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            timer = heapq.heappop(timers)[2]
            if not timer._cancelled:
                self._ready.append(timer)

    def _process_events(self, event_list: Any) -> None:
        """There are no file descriptors."""

    def _write_to_self(self) -> None:
        """No thread wakes this loop."""

    async def create_connection(self, protocol_factory: Any, *_: Any, **__: Any) -> Any:
        return await self.connector(protocol_factory)

    def end(self) -> None:
        """End all tasks, those of stopped processes too, and close the loop."""
        for process in list(self._contexts):
            self.continue_process(process)
        self._timers.clear()
        self._shuffle = 0.0
        self.set_exception_handler(lambda _loop, _context: None)
        for _ in range(100):
            unfinished = [task for task in self.tasks if not task.done()]
            if not unfinished:
                break
            for task in unfinished:
                task.cancel()
            self.run_until_complete(asyncio.wait(unfinished, timeout=1.0))
        self.close()
