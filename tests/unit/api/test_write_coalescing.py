"""What is written in one turn of the loop is sent in one go, in order, and never lost."""

from __future__ import annotations

import asyncio

from marketing_service.api.write_coalescing import GatheringTransport


class Recorder(asyncio.Transport):
    """Writes down what it is told to do."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1)})
        self.told: list[object] = []

    def write(self, data: object) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.told.append("close")

    def is_closing(self) -> bool:
        return "close" in self.told


def gathering() -> tuple[Recorder, GatheringTransport]:
    recorder = Recorder()
    return recorder, GatheringTransport(recorder, asyncio.get_running_loop())


async def test_a_head_and_its_body_are_one_write() -> None:
    recorder, transport = gathering()
    transport.write(b"head ")
    transport.write(b"body")
    assert recorder.told == []
    await asyncio.sleep(0)
    assert recorder.told == [b"head body"]
    transport.write(b"next")
    await asyncio.sleep(0)
    assert recorder.told == [b"head body", b"next"]


async def test_a_download_is_not_held_back() -> None:
    """The transport underneath says when it has enough; what it has not seen it cannot count."""
    recorder, transport = gathering()
    chunk = b"x" * 65_537
    transport.write(chunk)
    assert recorder.told == [chunk]
    await asyncio.sleep(0)
    assert recorder.told == [chunk]


async def test_what_was_written_is_sent_before_the_end() -> None:
    recorder, transport = gathering()
    transport.write(b"last words")
    transport.close()
    await asyncio.sleep(0)
    assert recorder.told == [b"last words", "close"]


async def test_all_else_is_the_transports() -> None:
    recorder, transport = gathering()
    assert transport.get_extra_info("peername") == ("192.0.2.1", 1)  # type: ignore[operator] # it is delegated
    assert transport.is_closing() is False  # type: ignore[operator] # the same
    recorder.close()
    assert transport.is_closing() is True  # type: ignore[operator] # the same
