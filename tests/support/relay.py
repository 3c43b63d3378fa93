r"""An SMTP relay inside the test process: it keeps its own ledger of accepted messages, and misbehaves by script.

    async with Relay() as relay:                            # a free port on 127.0.0.1; PIPELINING, 8BITMIME
        settings = load_settings(smtp_url=relay.url, ...)
        relay.on(Step.RCPT, answer(550, "5.1.1 Unknown"), when=lambda now: now.recipient == "bob@example.com")
        relay.on(Step.DOT, answer(451, "4.3.0 Later"), nth=3)         # at the third such step
        relay.on(Step.MAIL, answer(421, "4.7.0 Slow down"), times=2)  # the first two times, then no more
        relay.on(Step.DOT, hang_up(accepting=True), nth=10)     # accepts the message, and closes without a reply
        relay.on(Step.DOT, delay(0.2))                          # waits, then replies as usual
        relay.on(Step.DOT, wait_for(event))                     # replies as usual once the test has set the event
        relay.on(Step.DATA, silence())                          # a tarpit: never replies again
        relay.on(Step.BODY, hang_up(reset=True))                # in the middle of a message
        relay.on(Step.BANNER, raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        relay.on(Step.DOT, call(kill_the_worker), every=500)    # while that final dot has no reply
        relay.on(Step.DOT, call(seen.append, then=hang_up()))
        ...
        relay.accepted                # [Accepted(sender, recipients, content, at, connection), …]
        relay.recipients              # Counter: how many messages were accepted for each recipient
        relay.commands                # [(connection, "MAIL FROM:<a@example.com> SIZE=812"), …]
        relay.reads                   # [(connection, bytes), …], where `keep_reads` is set
        relay.open, relay.max_open, relay.connections     # open now; the most open at one time; in total
        await relay.until(lambda: len(relay.accepted) == 100)
        relay.pause(); relay.resume()                     # no replies in between
        relay.stall(); relay.resume()                     # no reads either, so the client's buffers fill
        await relay.stop(); await relay.start()           # refuses connections in between; the same port

`Relay(tls="starttls" or "implicit", credentials=("user", "secret"), pipelining=False, eight_bit=False, size=None)`:
with credentials, MAIL before a log-in is refused with 530. `relay.url` names scheme, credentials, certificate.

The first behaviour that fits a step applies. `relay.behave()` removes them all.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import quote

from tests.support.certificate import certificate, server_context
from tests.support.conversation import Conversation
from tests.support.script import (
    ORDINARY,
    Behaviour,
    Now,
    Rule,
    Step,
    answer,
    call,
    delay,
    hang_up,
    raw,
    silence,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Accepted",
    "Behaviour",
    "Now",
    "Relay",
    "Step",
    "answer",
    "call",
    "delay",
    "hang_up",
    "raw",
    "silence",
    "wait_for",
]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message that the relay has accepted, whether or not the client received the 250. `at` is a Unix time."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    at: float
    connection: int


class Relay:
    """See the docstring of the module."""

    def __init__(
        self,
        *,
        pipelining: bool = True,
        eight_bit: bool = True,
        size: int | None = 50_000_000,
        tls: Literal["no", "starttls", "implicit"] = "no",
        credentials: tuple[str, str] | None = None,
        extended: bool = True,
        keep_reads: bool = False,
        port: int = 0,
    ) -> None:
        self.pipelining = pipelining
        self.eight_bit = eight_bit
        self.size = size
        self.tls = tls
        self.credentials = credentials
        self.extended = extended
        """False: the relay knows only HELO, not EHLO."""
        self.keep_reads = keep_reads
        self.port = port
        self.accepted: list[Accepted] = []
        self.commands: list[tuple[int, str]] = []
        self.reads: list[tuple[int, bytes]] = []
        self.connections = 0
        self.max_open = 0
        self.paused = False
        self._rules: dict[Step, list[Rule]] = {}
        self._open: set[Conversation] = set()
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """The value for MARKETING_SMTP_URL."""
        scheme = {"no": "smtp", "starttls": "smtp+starttls", "implicit": "smtps"}[self.tls]
        user = ":".join(quote(part, safe="") for part in self.credentials) + "@" if self.credentials else ""
        query = "" if self.tls == "no" else f"?ca={quote(str(certificate().path))}"
        return f"{scheme}://{user}127.0.0.1:{self.port}{query}"

    @property
    def open(self) -> int:
        """Number of connections that are open now."""
        return len(self._open)

    @property
    def recipients(self) -> Counter[str]:
        """Number of accepted messages for each recipient."""
        return Counter(recipient for message in self.accepted for recipient in message.recipients)

    def verbs(self, connection: int | None = None) -> list[str]:
        """The verb of each command, in order; `connection` selects one connection, and the first has the number 1."""
        return [line.split(" ")[0].upper() for number, line in self.commands if connection in (None, number)]

    def on(
        self,
        step: Step,
        behaviour: Behaviour,
        *,
        when: Callable[[Now], bool] | None = None,
        nth: int | None = None,
        every: int | None = None,
        times: int | None = None,
    ) -> None:
        """Apply this behaviour at this step. `nth`, `every` and `times` count only steps for which `when` is true."""
        self._rules.setdefault(step, []).append(Rule(behaviour, when, nth, every, times))

    def behave(self) -> None:
        """Remove every behaviour. A connection that is silent stays silent."""
        self._rules.clear()

    def pause(self) -> None:
        """Send no replies until `resume`."""
        self.paused = True
        self._changed.set()

    def stall(self) -> None:
        """Send no replies, and read nothing on the open connections, until `resume`."""
        self.paused = True
        for conversation in self._open:
            conversation.stall()

    def resume(self) -> None:
        self.paused = False
        for conversation in list(self._open):
            conversation.resume()

    def hang_up(self) -> None:
        """Reset every open connection."""
        for conversation in list(self._open):
            conversation.close(reset=True)

    def say(self, octets: bytes) -> None:
        """Write these octets to every open connection, without a command before them."""
        for conversation in list(self._open):
            conversation.write(octets)

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until the condition on this relay is true. Raises TimeoutError after `seconds`."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def start(self) -> None:
        """Listen; after a `stop`, on the same port as before."""
        context = server_context() if self.tls == "implicit" else None
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Conversation(self), "127.0.0.1", self.port, ssl=context, backlog=500
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse new connections, and reset the open ones. The ledger stays."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.hang_up()
        await self.until(lambda: not self._open)

    # ── called by the conversations ──

    def behaviour(self, step: Step, now: Now) -> Behaviour:
        return next((rule.behaviour for rule in self._rules.get(step, ()) if rule.fits(now)), ORDINARY)

    def opened(self, conversation: Conversation) -> int:
        self.connections += 1
        self._open.add(conversation)
        self.max_open = max(self.max_open, len(self._open))
        self._changed.set()
        return self.connections

    def closed(self, conversation: Conversation) -> None:
        self._open.discard(conversation)
        self._changed.set()

    def accept(self, now: Now) -> None:
        message = Accepted(now.sender, tuple(now.recipients), now.content, time.time(), now.connection)
        self.accepted.append(message)
        self._changed.set()

    def octets_received(self, connection: int, octets: bytes) -> None:
        if self.keep_reads:
            self.reads.append((connection, octets))
            self._changed.set()

    def command_received(self, connection: int, line: str) -> None:
        self.commands.append((connection, line))
        self._changed.set()
