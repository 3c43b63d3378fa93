"""All writes of one iteration of the event loop are sent as one write, in order and complete."""

from __future__ import annotations

import asyncio

from marketing_service.api.write_coalescing import CoalescingTransport


class FakeTransport(asyncio.Transport):
    """Stores the calls."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1)})
        self.calls: list[object] = []

    def write(self, data: object) -> None:
        self.calls.append(data)

    def close(self) -> None:
        self.calls.append("close")

    def is_closing(self) -> bool:
        return "close" in self.calls


def coalescing() -> tuple[FakeTransport, CoalescingTransport]:
    inner = FakeTransport()
    return inner, CoalescingTransport(inner, asyncio.get_running_loop())


async def test_a_head_and_its_body_are_one_write() -> None:
    inner, transport = coalescing()
    transport.write(b"head ")
    transport.write(b"body")
    assert inner.calls == []
    await asyncio.sleep(0)
    assert inner.calls == [b"head body"]
    transport.write(b"next")
    await asyncio.sleep(0)
    assert inner.calls == [b"head body", b"next"]


async def test_a_large_chunk_is_sent_at_once() -> None:
    """The inner transport controls the flow, so it must see the data."""
    inner, transport = coalescing()
    chunk = b"x" * 65_537
    transport.write(chunk)
    assert inner.calls == [chunk]
    await asyncio.sleep(0)
    assert inner.calls == [chunk]


async def test_the_buffer_is_sent_before_the_close() -> None:
    inner, transport = coalescing()
    transport.write(b"last words")
    transport.close()
    await asyncio.sleep(0)
    assert inner.calls == [b"last words", "close"]


async def test_other_attributes_are_those_of_the_inner_transport() -> None:
    inner, transport = coalescing()
    assert transport.get_extra_info("peername") == ("192.0.2.1", 1)  # type: ignore[operator] # it is delegated
    assert transport.is_closing() is False  # type: ignore[operator] # the same
    inner.close()
    assert transport.is_closing() is True  # type: ignore[operator] # the same
