"""Runs several worker processes as one command: starts them, restarts them, and stops them together."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from marketing_service.backoff import ExponentialBackoff
from marketing_service.worker.shutdown import DRAIN, STOP_NOW, ShutdownSignals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = structlog.get_logger(__name__)

_BACKOFF = ExponentialBackoff(first=0.5, maximum=30.0)
_STABLE_SECONDS = 60.0
"""A worker that ran for longer than this resets the back-off of its restarts."""
_EXIT_SECONDS = 15.0
"""Time that a worker gets in addition to its drain, to close its connections and exit."""
_STOP_NOW_SECONDS = 10.0
"""Time that a worker gets to exit after STOP_NOW, before it is killed."""


@dataclass(frozen=True, slots=True)
class _Child:
    process: asyncio.subprocess.Process
    control_pipe: int
    """The end of the pipe that the supervisor writes to. The kernel closes it when the supervisor dies, so that the
    child always notices."""

    def send(self, command: bytes) -> None:
        with suppress(BrokenPipeError):
            os.write(self.control_pipe, command)


async def supervise(command: Callable[[int, int], Sequence[str]], *, processes: int, drain_seconds: float) -> None:
    """Keep `processes` children running until SIGTERM or SIGINT. Then tell them to drain, and return when all have
    exited.

    A second signal tells them to stop now. A child that does not exit in time is killed. `command` returns the command
    line of a child; its arguments are the child's number (from 0) and the file descriptor of its control pipe.
    """
    shutdown = ShutdownSignals()
    shutdown.listen_for_signals()
    await _Supervisor(command, drain_seconds, shutdown).run(processes)


class _Supervisor:
    def __init__(
        self, command: Callable[[int, int], Sequence[str]], drain_seconds: float, shutdown: ShutdownSignals
    ) -> None:
        self._command = command
        self._drain_timeout = drain_seconds + _EXIT_SECONDS
        self._shutdown = shutdown
        self._children: set[_Child] = set()

    async def run(self, processes: int) -> None:
        keepers = [asyncio.create_task(self._keep_running(number)) for number in range(processes)]
        log.info("supervisor_started", processes=processes)
        await self._shutdown.drain.wait()
        self._send_all(DRAIN)
        finished = asyncio.create_task(asyncio.wait(keepers))
        stop_now = asyncio.create_task(self._shutdown.stop_now.wait())
        await asyncio.wait((finished, stop_now), timeout=self._drain_timeout, return_when=asyncio.FIRST_COMPLETED)
        stop_now.cancel()
        self._send_all(STOP_NOW)
        await asyncio.wait((finished,), timeout=_STOP_NOW_SECONDS)
        for child in self._children:
            log.warning("worker_killed", pid=child.process.pid)
            child.process.kill()
        await finished
        log.info("supervisor_stopped")

    def _send_all(self, command: bytes) -> None:
        for child in self._children:
            child.send(command)

    async def _keep_running(self, number: int) -> None:
        """Run the child with this number, and restart it with a back-off whenever it exits."""
        failures = 0
        while not self._shutdown.drain.is_set():
            started = asyncio.get_running_loop().time()
            try:
                code: int | None = await self._run_one(number)
            except OSError as error:
                log.warning("worker_start_failed", worker=number, error=error.strerror)
                code = None
            if self._shutdown.drain.is_set():
                return
            if asyncio.get_running_loop().time() - started > _STABLE_SECONDS:
                failures = 0
            failures += 1
            delay = _BACKOFF.delay(failures)
            log.error("worker_exited", worker=number, code=code, restart_in=delay)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._shutdown.drain.wait(), delay)

    async def _run_one(self, number: int) -> int:
        childs_end, our_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command(number, childs_end),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(childs_end,),
                # A Ctrl-C in the terminal reaches only the supervisor.
                process_group=0,
            )
        except BaseException:
            os.close(our_end)
            raise
        finally:
            os.close(childs_end)
        child = _Child(process, our_end)
        self._children.add(child)
        try:
            log.info("worker_process_created", worker=number, pid=process.pid)
            if self._shutdown.drain.is_set():
                child.send(DRAIN)
            return await process.wait()
        finally:
            self._children.discard(child)
            os.close(our_end)
