"""A sink that takes messages from the network, counts and forgets them, and refuses some: `python -m bench.sink`.

It prints `mesg=<accepted>` as smtp-sink does. Which recipients are put off or refused is told from the number in
their local part, so every run refuses the same ones.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import signal
import sys
from typing import cast

import uvloop

_NUMBER = re.compile(rb"(\d+)@")
_END = b"\r\n.\r\n"
_EHLO = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
_ANSWERS = {
    b"EHLO": _EHLO,
    b"HELO": b"250 sink\r\n",
    b"MAIL": b"250 2.1.0 Ok\r\n",
    b"RSET": b"250 2.0.0 Ok\r\n",
    b"NOOP": b"250 2.0.0 Ok\r\n",
}


class Counts:
    """What all connections have in common."""

    def __init__(self, deferred: int, refused: int) -> None:
        self._deferred = deferred
        self._refused = refused
        self._put_off: set[int] = set()
        self.accepted = 0

    def answer_to(self, recipient: bytes) -> bytes:
        found = _NUMBER.search(recipient)
        number = int(found.group(1)) if found else 0
        place = number % 100
        if place < self._refused:
            return b"550 5.1.1 No such user\r\n"
        if place < self._refused + self._deferred and number not in self._put_off:
            self._put_off.add(number)
            return b"451 4.3.0 Try again later\r\n"
        return b"250 2.1.5 Ok\r\n"


class Conversation(asyncio.Protocol):
    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._buffer = b""
        self._in_message = False
        self._taken = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answers: list[bytes] = []
        while self._message_ended(answers) if self._in_message else self._command_ended(answers):
            pass
        if answers and self._transport is not None:
            self._transport.write(b"".join(answers))
            if answers[-1].startswith(b"221"):
                self._transport.close()

    def _message_ended(self, answers: list[bytes]) -> bool:
        """Whether the message's end has come; a lone dot ends one that is empty."""
        if self._buffer.startswith(_END[2:]):
            length = len(_END) - 2
        else:
            length = self._buffer.find(_END) + len(_END)
            if length < len(_END):
                return False
        self._buffer = self._buffer[length:]
        self._in_message = False
        self._counts.accepted += 1
        sys.stdout.write(f"mesg={self._counts.accepted}\r")
        answers.append(b"250 2.0.0 Ok\r\n")
        return True

    def _command_ended(self, answers: list[bytes]) -> bool:
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return False
        self._buffer = rest
        verb = line[:4].upper()
        if verb == b"RCPT":
            answer = self._counts.answer_to(line)
            self._taken = answer.startswith(b"250")
        elif verb == b"DATA":
            self._in_message = self._taken
            answer = b"354 Go ahead\r\n" if self._taken else b"554 5.5.1 No valid recipients\r\n"
        elif verb == b"QUIT":
            answer = b"221 2.0.0 Bye\r\n"
        else:
            self._taken = False
            answer = _ANSWERS.get(verb, b"500 5.5.2 What?\r\n")
        answers.append(answer)
        return True


async def _serve(port: int, counts: Counts) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: Conversation(counts), "127.0.0.1", port, backlog=1000)
    async with server:
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--deferred", type=int, default=0)
    parser.add_argument("--refused", type=int, default=0)
    options = parser.parse_args()
    # Written through at once, as smtp-sink does it: the count must be there as soon as the answer is.
    sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr] # a console or a file is a TextIOWrapper
    uvloop.run(_serve(options.port, Counts(options.deferred, options.refused)))


if __name__ == "__main__":
    main()
