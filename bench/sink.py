"""An SMTP sink that discards messages and refuses some recipients: `python -m bench.sink --port N`.

It prints the number of accepted messages as `mesg=<accepted>`, like smtp-sink. The number in the local part of a
recipient decides whether the sink defers or refuses it, so every run refuses the same recipients.
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
_REPLIES = {
    b"EHLO": _EHLO,
    b"HELO": b"250 sink\r\n",
    b"MAIL": b"250 2.1.0 Ok\r\n",
    b"RSET": b"250 2.0.0 Ok\r\n",
    b"NOOP": b"250 2.0.0 Ok\r\n",
}


class Recipients:
    """The rules for recipients and the number of accepted messages, shared by all connections.

    Of 100 recipients, `deferred` get 451 at their first RCPT, and `refused` get 550.
    """

    def __init__(self, deferred: int, refused: int) -> None:
        self._deferred = deferred
        self._refused = refused
        self._already_deferred: set[int] = set()
        self.accepted = 0

    def reply_to(self, recipient: bytes) -> bytes:
        match = _NUMBER.search(recipient)
        number = int(match.group(1)) if match else 0
        position = number % 100
        if position < self._refused:
            return b"550 5.1.1 No such user\r\n"
        if position < self._refused + self._deferred and number not in self._already_deferred:
            self._already_deferred.add(number)
            return b"451 4.3.0 Try again later\r\n"
        return b"250 2.1.5 Ok\r\n"


class SmtpSession(asyncio.Protocol):
    """The server side of one SMTP connection, with pipelining."""

    def __init__(self, recipients: Recipients) -> None:
        self._recipients = recipients
        self._buffer = b""
        self._in_message = False
        self._recipient_accepted = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        replies: list[bytes] = []
        while self._read_message_end(replies) if self._in_message else self._read_command(replies):
            pass
        if replies and self._transport is not None:
            self._transport.write(b"".join(replies))
            if replies[-1].startswith(b"221"):
                self._transport.close()

    def _read_message_end(self, replies: list[bytes]) -> bool:
        """Read up to the end of the message. Returns False if it has not arrived. A lone dot ends an empty message."""
        if self._buffer.startswith(_END[2:]):
            length = len(_END) - 2
        else:
            length = self._buffer.find(_END) + len(_END)
            if length < len(_END):
                return False
        self._buffer = self._buffer[length:]
        self._in_message = False
        self._recipients.accepted += 1
        sys.stdout.write(f"mesg={self._recipients.accepted}\r")
        replies.append(b"250 2.0.0 Ok\r\n")
        return True

    def _read_command(self, replies: list[bytes]) -> bool:
        """Read one command and add its reply. Returns False if no complete line has arrived."""
        line, end, remaining = self._buffer.partition(b"\r\n")
        if not end:
            return False
        self._buffer = remaining
        verb = line[:4].upper()
        if verb == b"RCPT":
            reply = self._recipients.reply_to(line)
            self._recipient_accepted = reply.startswith(b"250")
        elif verb == b"DATA":
            self._in_message = self._recipient_accepted
            reply = b"354 Go ahead\r\n" if self._recipient_accepted else b"554 5.5.1 No valid recipients\r\n"
        elif verb == b"QUIT":
            reply = b"221 2.0.0 Bye\r\n"
        else:
            self._recipient_accepted = False
            reply = _REPLIES.get(verb, b"500 5.5.2 What?\r\n")
        replies.append(reply)
        return True


async def _serve(port: int, recipients: Recipients) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: SmtpSession(recipients), "127.0.0.1", port, backlog=1000)
    async with server:
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--deferred", type=int, default=0, help="recipients of 100 that get 451 once")
    parser.add_argument("--refused", type=int, default=0, help="recipients of 100 that get 550")
    options = parser.parse_args()
    # Write without a buffer, like smtp-sink: the number must be visible as soon as the reply is.
    sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr] # a console or a file is a TextIOWrapper
    uvloop.run(_serve(options.port, Recipients(options.deferred, options.refused)))


if __name__ == "__main__":
    main()
