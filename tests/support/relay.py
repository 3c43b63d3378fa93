r"""A real SMTP relay, in process, that keeps a ledger of its own and misbehaves by script.

    async with Relay() as relay:                            # a free port on 127.0.0.1; PIPELINING, 8BITMIME
        settings = load_settings(smtp_url=relay.url, ...)
        relay.on(Step.RCPT, answer(550, "5.1.1 Unknown"), when=lambda now: now.recipient == "bob@example.com")
        relay.on(Step.DOT, answer(451, "4.3.0 Later"), nth=3)         # the third time this step comes
        relay.on(Step.MAIL, answer(421, "4.7.0 Slow down"), times=2)  # the first two times, then no more
        relay.on(Step.DOT, hang_up(accepting=True), nth=10)     # takes the message, and dies without a word
        relay.on(Step.DOT, delay(0.2))                          # waits, then does what it would have done
        relay.on(Step.DATA, silence())                          # a tarpit: never answers again
        relay.on(Step.BODY, hang_up(reset=True))                # in the middle of a message
        relay.on(Step.BANNER, raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        relay.on(Step.DOT, call(kill_the_worker), every=500)    # inside, that final dot is unanswered
        relay.on(Step.DOT, call(seen.append, then=hang_up()))
        ...
        relay.accepted                # [Accepted(sender, recipients, content, at, connection), …]
        relay.recipients              # Counter: how many messages were accepted for each recipient
        relay.commands                # [(connection, "MAIL FROM:<a@example.com> SIZE=812"), …]
        relay.reads                   # [(connection, bytes), …], where `keep_reads` is set
        relay.open, relay.most_open, relay.connections    # now; at most at one time; ever
        await relay.until(lambda: len(relay.accepted) == 100)
        relay.pause(); relay.resume()                     # answers nothing in between
        relay.stall(); relay.resume()                     # does not even read, so the client's buffers fill
        await relay.stop(); await relay.start()           # refuses connections in between; the same port

`Relay(tls="starttls" or "implicit", credentials=("user", "secret"), pipelining=False, eight_bit=False, size=None)`:
with credentials, MAIL before a log-in is refused with 530. `relay.url` names scheme, credentials, certificate.

The first behaviour that fits a step is taken. `relay.behave()` forgets them all.
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
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Accepted", "Behaviour", "Now", "Relay", "Step", "answer", "call", "delay", "hang_up", "raw", "silence"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message the relay took responsibility for, whether or not its 250 arrived. `at` is a Unix time."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    at: float
    connection: int


class Relay:
    """See the module's docstring."""

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
        """False: knows HELO alone."""
        self.keep_reads = keep_reads
        self.port = port
        self.accepted: list[Accepted] = []
        self.commands: list[tuple[int, str]] = []
        self.reads: list[tuple[int, bytes]] = []
        self.connections = 0
        self.most_open = 0
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
        """What MARKETING_SMTP_URL is to be."""
        scheme = {"no": "smtp", "starttls": "smtp+starttls", "implicit": "smtps"}[self.tls]
        user = ":".join(quote(part, safe="") for part in self.credentials) + "@" if self.credentials else ""
        query = "" if self.tls == "no" else f"?ca={quote(str(certificate().path))}"
        return f"{scheme}://{user}127.0.0.1:{self.port}{query}"

    @property
    def open(self) -> int:
        """How many connections are open now."""
        return len(self._open)

    @property
    def recipients(self) -> Counter[str]:
        """How many messages were accepted for each recipient."""
        return Counter(recipient for message in self.accepted for recipient in message.recipients)

    def verbs(self, connection: int | None = None) -> list[str]:
        """The commands' first words, in order; of one connection, where it is named (they count from 1)."""
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
        """Behave so at this step. `nth`, `every` and `times` count the steps for which `when` is true."""
        self._rules.setdefault(step, []).append(Rule(behaviour, when, nth, every, times))

    def behave(self) -> None:
        """Forget every behaviour; a connection that has gone silent stays so."""
        self._rules.clear()

    def pause(self) -> None:
        """Answer nothing until `resume`."""
        self.paused = True

    def stall(self) -> None:
        """Answer nothing and read nothing on the connections that are open, until `resume`."""
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
        """Say this on every open connection, unasked."""
        for conversation in list(self._open):
            conversation.write(octets)

    async def until(self, condition: Callable[[], bool], seconds: float = 5.0) -> None:
        """Wait until the condition on this relay holds; raises TimeoutError after so many seconds."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def start(self) -> None:
        """Listen; after a `stop`, on the same port."""
        context = server_context() if self.tls == "implicit" else None
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Conversation(self), "127.0.0.1", self.port, ssl=context, backlog=500
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections, and reset those that are open. The ledger stays."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.hang_up()
        await self.until(lambda: not self._open)

    # ── for the conversations ──

    def behaviour(self, step: Step, now: Now) -> Behaviour:
        return next((rule.behaviour for rule in self._rules.get(step, ()) if rule.fits(now)), ORDINARY)

    def opened(self, conversation: Conversation) -> int:
        self.connections += 1
        self._open.add(conversation)
        self.most_open = max(self.most_open, len(self._open))
        self._changed.set()
        return self.connections

    def closed(self, conversation: Conversation) -> None:
        self._open.discard(conversation)
        self._changed.set()

    def accept(self, now: Now) -> None:
        message = Accepted(now.sender, tuple(now.recipients), now.content, time.time(), now.connection)
        self.accepted.append(message)
        self._changed.set()

    def heard(self, connection: int, octets: bytes) -> None:
        if self.keep_reads:
            self.reads.append((connection, octets))
            self._changed.set()

    def noted(self, connection: int, line: str) -> None:
        self.commands.append((connection, line))
        self._changed.set()
