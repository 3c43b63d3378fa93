"""The supervisor by itself, with children that only write the commands they receive to a file."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from marketing_service.worker import supervisor
from marketing_service.worker.shutdown import SIGNALS
from tests.support.world import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Commands = Callable[[str], Callable[[int, int], list[str]]]

# Writes its number, and every command that it reads from its control pipe. `behaviour` tells when it exits.
_CHILD = """
import os, sys
log, number, control_pipe, behaviour = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
def write(event):
    with open(log, "a") as file:
        file.write(event + " " + number + "\\n")
write("started")
if behaviour == "dies-once" and number == "0" and open(log).read().count("started 0") == 1:
    sys.exit(3)
while command := os.read(control_pipe, 1):
    write({b"d": "drain", b"s": "stop-now"}[command])
    if behaviour != "ignores-drain" or command == b"s":
        break
"""


@pytest.fixture(autouse=True)
async def restored_signal_handlers() -> AsyncIterator[None]:
    yield
    for number in SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(number)


@pytest.fixture
def child(tmp_path: Path) -> Commands:
    def with_behaviour(behaviour: str) -> Callable[[int, int], list[str]]:
        def command(number: int, control_pipe: int) -> list[str]:
            return [sys.executable, "-c", _CHILD, str(tmp_path / "log"), str(number), str(control_pipe), behaviour]

        return command

    return with_behaviour


def written(tmp_path: Path, *events: str) -> Callable[[], Awaitable[bool]]:
    async def all_written() -> bool:
        lines = (tmp_path / "log").read_text().splitlines() if (tmp_path / "log").exists() else []
        return all(lines.count(event) >= events.count(event) for event in events)

    return all_written


async def test_one_signal_makes_every_child_drain(tmp_path: Path, child: Commands) -> None:
    running = asyncio.create_task(supervisor.supervise(child("exits-on-drain"), processes=2, drain_seconds=5))
    await until(written(tmp_path, "started 0", "started 1"))
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert sorted((tmp_path / "log").read_text().splitlines())[:2] == ["drain 0", "drain 1"]


async def test_a_child_that_dies_is_restarted(tmp_path: Path, child: Commands) -> None:
    running = asyncio.create_task(supervisor.supervise(child("dies-once"), processes=2, drain_seconds=5))
    await until(written(tmp_path, "started 0", "started 0", "started 1"))
    os.kill(os.getpid(), signal.SIGINT)
    await running


async def test_a_second_signal_tells_the_children_to_stop_now(tmp_path: Path, child: Commands) -> None:
    running = asyncio.create_task(supervisor.supervise(child("ignores-drain"), processes=1, drain_seconds=60))
    await until(written(tmp_path, "started 0"))
    os.kill(os.getpid(), signal.SIGTERM)
    await until(written(tmp_path, "drain 0"))
    assert not running.done()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(written(tmp_path, "stop-now 0"))
    await running


async def test_a_command_that_cannot_be_started_is_tried_again_until_the_drain() -> None:
    tries = []

    def command(number: int, _: int) -> list[str]:
        tries.append(number)
        return ["/no/such/command"]

    running = asyncio.create_task(supervisor.supervise(command, processes=1, drain_seconds=5))

    async def tried_twice() -> bool:
        return len(tries) > 1

    await until(tried_twice)
    os.kill(os.getpid(), signal.SIGTERM)
    await running
