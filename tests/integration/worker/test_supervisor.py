"""The supervisor by itself, with children that only write down what they are told."""

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

# Writes its number and whatever it reads from its lifeline; ends as its script says.
_CHILD = """
import os, sys, time
log, number, lifeline, script = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
def say(word):
    with open(log, "a") as file:
        file.write(word + number + "\\n")
say("begun ")
if script == "dies" and number == "0" and open(log).read().count("begun 0") == 1:
    sys.exit(3)
while word := os.read(lifeline, 1):
    say({b"d": "drain ", b"h": "hurry "}[word])
    if script != "stubborn" or word == b"h":
        break
"""


@pytest.fixture(autouse=True)
async def signals_as_they_were() -> AsyncIterator[None]:
    yield
    for number in SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(number)


@pytest.fixture
def child(tmp_path: Path) -> Callable[[str], Callable[[int, int], list[str]]]:
    def made(script: str) -> Callable[[int, int], list[str]]:
        def command(number: int, lifeline: int) -> list[str]:
            return [sys.executable, "-c", _CHILD, str(tmp_path / "log"), str(number), str(lifeline), script]

        return command

    return made


def said(tmp_path: Path, *words: str) -> Callable[[], Awaitable[bool]]:
    async def all_said() -> bool:
        lines = (tmp_path / "log").read_text().splitlines() if (tmp_path / "log").exists() else []
        return all(lines.count(word) >= words.count(word) for word in words)

    return all_said


async def test_every_child_is_told_to_drain_by_one_signal(
    tmp_path: Path, child: Callable[[str], Callable[[int, int], list[str]]]
) -> None:
    running = asyncio.create_task(supervisor.supervise(child("obeys"), processes=2, drain_seconds=5))
    await until(said(tmp_path, "begun 0", "begun 1"))
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert sorted((tmp_path / "log").read_text().splitlines())[2:] == ["drain 0", "drain 1"]


async def test_one_that_dies_is_started_again(
    tmp_path: Path, child: Callable[[str], Callable[[int, int], list[str]]]
) -> None:
    running = asyncio.create_task(supervisor.supervise(child("dies"), processes=2, drain_seconds=5))
    await until(said(tmp_path, "begun 0", "begun 0", "begun 1"))
    os.kill(os.getpid(), signal.SIGINT)
    await running


async def test_a_second_signal_hurries_those_who_take_their_time(
    tmp_path: Path, child: Callable[[str], Callable[[int, int], list[str]]]
) -> None:
    running = asyncio.create_task(supervisor.supervise(child("stubborn"), processes=1, drain_seconds=60))
    await until(said(tmp_path, "begun 0"))
    os.kill(os.getpid(), signal.SIGTERM)
    await until(said(tmp_path, "drain 0"))
    assert not running.done()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(said(tmp_path, "hurry 0"))
    await running


async def test_a_command_that_cannot_be_run_is_tried_again_until_told_to_stop() -> None:
    tries = []

    def command(number: int, _: int) -> list[str]:
        tries.append(number)
        return ["/nowhere/at/all"]

    running = asyncio.create_task(supervisor.supervise(command, processes=1, drain_seconds=5))

    async def tried_twice() -> bool:
        return len(tries) > 1

    await until(tried_twice)
    os.kill(os.getpid(), signal.SIGTERM)
    await running
