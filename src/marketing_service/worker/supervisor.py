"""Several worker processes as one command: started, started again, and stopped together."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from marketing_service.worker.shutdown import DRAIN, HURRY, ShutdownSignals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = structlog.get_logger(__name__)

_FIRST_PAUSE = 0.5
_MAX_PAUSE = 30.0
_STEADY = 60.0
"""Seconds after which a process that ended had been well."""
_LAST_SECONDS = 15.0
"""What a worker may take beyond its drain, for the rest of its end."""
_HURRIED_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Child:
    process: asyncio.subprocess.Process
    lifeline: int
    """The end of the pipe that is ours. However this process dies, the kernel closes it, and the child notices."""

    def tell(self, word: bytes) -> None:
        with suppress(BrokenPipeError):
            os.write(self.lifeline, word)


async def supervise(command: Callable[[int, int], Sequence[str]], *, processes: int, drain_seconds: float) -> None:
    """Keep so many children running until SIGTERM or SIGINT; then have them drain, and return when they have.

    A second signal hurries them, and whoever does not end in time is killed. `command` makes the command line of one
    child, from its number (from 0) and the descriptor it is to take its orders from.
    """
    shutdown = ShutdownSignals()
    shutdown.listen_for_signals()
    await _Supervisor(command, drain_seconds, shutdown).run(processes)


class _Supervisor:
    def __init__(
        self, command: Callable[[int, int], Sequence[str]], drain_seconds: float, shutdown: ShutdownSignals
    ) -> None:
        self._command = command
        self._patience = drain_seconds + _LAST_SECONDS
        self._shutdown = shutdown
        self._children: set[_Child] = set()

    async def run(self, processes: int) -> None:
        keepers = [asyncio.create_task(self._keep(number)) for number in range(processes)]
        log.info("supervisor_started", processes=processes)
        await self._shutdown.stop.wait()
        self._tell(DRAIN)
        through = asyncio.create_task(asyncio.wait(keepers))
        hurried = asyncio.create_task(self._shutdown.hurry.wait())
        await asyncio.wait((through, hurried), timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        self._tell(HURRY)
        await asyncio.wait((through,), timeout=_HURRIED_SECONDS)
        for child in self._children:
            log.warning("worker_killed", pid=child.process.pid)
            child.process.kill()
        await through
        log.info("supervisor_stopped")

    def _tell(self, word: bytes) -> None:
        for child in self._children:
            child.tell(word)

    async def _keep(self, number: int) -> None:
        """One child after the other, with a pause between them that grows where they die young."""
        pause = _FIRST_PAUSE
        while not self._shutdown.stop.is_set():
            started = asyncio.get_running_loop().time()
            try:
                code: int | None = await self._run_one(number)
            except OSError as error:
                log.warning("worker_not_begun", worker=number, error=error.strerror)
                code = None
            if self._shutdown.stop.is_set():
                return
            if asyncio.get_running_loop().time() - started > _STEADY:
                pause = _FIRST_PAUSE
            log.error("worker_ended", worker=number, code=code, next_in=pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._shutdown.stop.wait(), pause)
            pause = min(pause * 2, _MAX_PAUSE)

    async def _run_one(self, number: int) -> int:
        theirs, ours = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command(number, theirs),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs,),
                # A Ctrl-C in the terminal is for the supervisor alone.
                process_group=0,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        child = _Child(process, ours)
        self._children.add(child)
        try:
            log.info("worker_begun", worker=number, pid=process.pid)
            if self._shutdown.stop.is_set():
                child.tell(DRAIN)
            return await process.wait()
        finally:
            self._children.discard(child)
            os.close(ours)
