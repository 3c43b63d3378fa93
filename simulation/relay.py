"""The scripted relay: an SMTP server that answers as the scenario says, and knows what it accepted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from marketing_service.replies import Scope
from marketing_service.tokens.bounce import Bounced
from simulation.loop import WORLD
from simulation.scenario import Deed, Refusal, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from marketing_service.tokens import BounceAddresses
    from simulation.inspector import Inspector
    from simulation.loop import VirtualLoop
    from simulation.network import Connection
    from simulation.scenario import Person, RelayFault, Scenario

_BUSY = Refusal(Step.CONNECT, 421, "4.7.0 Too many connections from you", Scope.RELAY)
_SESSION_IS_OVER = Refusal(Step.MAIL, 421, "4.4.5 Too many messages in this session", Scope.CONNECTION)
_WRONG_ORDER = "503 5.5.1 Bad sequence of commands"
_NO_RECIPIENTS = "554 5.5.1 No valid recipients"
_END = b"\r\n.\r\n"


class Relay:
    """All sessions of the relay."""

    def __init__(
        self,
        loop: VirtualLoop,
        scenario: Scenario,
        inspector: Inspector,
        tell: Callable[..., None],
        bounces: BounceAddresses,
    ) -> None:
        self.loop = loop
        self.setup = scenario.setup
        self.inspector = inspector
        self.tell = tell
        self.bounces = bounces
        self.faults: tuple[RelayFault, ...] = scenario.relay_faults
        self.sessions: dict[Session, None] = {}
        self._people = {person.email: person for person in scenario.people}
        self._seen: Counter[Step] = Counter()
        self._seen_of_person: Counter[str] = Counter()

    def person(self, email: str) -> Person | None:
        return self._people.get(email)

    def fault(self, step: Step) -> RelayFault | None:
        """What goes wrong at this step, this time."""
        self._seen[step] += 1
        seen = self._seen[step]
        for fault in self.faults:
            if fault.step is step and fault.first <= seen < fault.first + fault.times:
                return fault
        return None

    def refusal_for(self, step: Step, email: str) -> Refusal | None:
        """What the relay has against this recipient."""
        person = self._people.get(email)
        if person is None or person.refusal is None or person.refusal.step is not step:
            return None
        self._seen_of_person[email] += 1
        return person.refusal if self._seen_of_person[email] <= person.times else None


class Session:
    """One connection, at the relay's end."""

    def __init__(self, relay: Relay, connection: Connection) -> None:
        self._relay = relay
        self._connection = connection
        self._buffer = b""
        self._in_data = False
        self._is_busy = False
        self._is_over = False
        self._is_silent = False
        self._bounced: Bounced | None = None
        self._has_sender = False
        self._named = ""
        self._content = b""
        self._recipient: str | None = None
        self._accepted = 0
        relay.sessions[self] = None
        self._take(Step.CONNECT)

    # ── from the network ──

    def received(self, octets: bytes) -> None:
        if self._is_over or self._is_silent:
            return
        self._buffer += octets
        self._work()

    def lost(self) -> None:
        self._is_over = True
        self._relay.sessions.pop(self, None)

    def hang_up(self) -> None:
        self.lost()
        self._connection.hang_up()

    # ── commands ──

    def _work(self) -> None:
        while not (self._is_busy or self._is_over or self._is_silent):
            if self._in_data:
                if not self._read_message():
                    return
            elif b"\r\n" in self._buffer:
                line, _, self._buffer = self._buffer.partition(b"\r\n")
                self._command(line.decode("ascii"))
            else:
                return

    def _read_message(self) -> bool:
        """Whether the end of the message has arrived. `_buffer` begins with the CRLF before the message."""
        end = self._buffer.find(_END)
        if end < 0:
            return False
        self._content, self._buffer = self._buffer[2:end], self._buffer[end + len(_END) :]
        self._in_data = False
        self._take(Step.DOT)
        return True

    def _command(self, line: str) -> None:
        verb, _, argument = line.partition(" ")
        address = argument.partition("<")[2].partition(">")[0]
        match verb.upper():
            case "MAIL":
                read = self._relay.bounces.read(address)
                self._bounced = read if isinstance(read, Bounced) else None
                self._recipient = None
                self._has_sender = False
                self._take(Step.MAIL)
            case "RCPT":
                self._named = address
                self._take(Step.RCPT)
            case "QUIT":
                self._connection.reply(b"221 2.0.0 Bye\r\n")
                self.hang_up()
            case verb if verb in Step.__members__:
                self._take(Step[verb])
            case "HELO":
                self._take(Step.EHLO)
            case _:
                self._say("502 5.5.2 Command not known")

    # ── answers ──

    def _take(self, step: Step) -> None:
        """Do what the scenario says at this step, or the usual."""
        fault = self._relay.fault(step)
        if fault is None:
            self._usual(step)
            return
        match fault.deed:
            case Deed.REFUSE if fault.refusal is not None:
                self._relay.tell("The relay answers {} with {} {}.", step, fault.refusal.code, fault.refusal.text)
                self._refuse(step, fault.refusal)
            case Deed.WAIT:
                self._relay.tell("The relay waits {:g} s before it answers {}.", fault.seconds, step)
                self._is_busy = True
                self._relay.loop.call_in(WORLD, fault.seconds, self._go_on, step)
            case Deed.SAY_NOTHING:
                self._relay.tell("The relay does not answer {}, and is silent from then on.", step)
                self._is_silent = True
            case Deed.ACCEPT_AND_HANG_UP if step is Step.DOT and self._recipient is not None:
                self._accept(and_reply=False)
                self._relay.tell("The relay hangs up before it answers {}.", step)
                self.hang_up()
            case _:
                self._relay.tell("The relay hangs up before it answers {}.", step)
                self.hang_up()

    def _go_on(self, step: Step) -> None:
        self._is_busy = False
        if not self._is_over:
            self._usual(step)
            self._work()

    def _say(self, reply: str) -> None:
        self._connection.reply(f"{reply}\r\n".encode("ascii"))

    def _usual(self, step: Step) -> None:  # noqa: C901 - one case for each command
        setup = self._relay.setup
        match step:
            case Step.CONNECT:
                if setup.relay_connections is not None and len(self._relay.sessions) > setup.relay_connections:
                    self._refuse(step, _BUSY)
                else:
                    self._say("220 relay.example ESMTP")
            case Step.EHLO:
                extensions = ["relay.example", *(["PIPELINING"] if setup.pipelining else []), "8BITMIME"]
                lines = [f"250-{word}" for word in extensions[:-1]] + [f"250 {extensions[-1]}"]
                self._say("\r\n".join(lines))
            case Step.MAIL:
                if setup.session_messages is not None and self._accepted >= setup.session_messages:
                    self._refuse(step, _SESSION_IS_OVER)
                else:
                    self._has_sender = True
                    self._say("250 2.1.0 Sender OK")
            case Step.RCPT:
                self._usual_rcpt()
            case Step.DATA:
                self._usual_data()
            case Step.DOT:
                self._usual_dot()
            case Step.RSET:
                self._has_sender, self._recipient = False, None
                self._say("250 2.0.0 Reset")
            case Step.NOOP:
                self._say("250 2.0.0 OK")

    def _usual_rcpt(self) -> None:
        if not self._has_sender:
            self._say(_WRONG_ORDER)
            return
        refusal = self._relay.refusal_for(Step.RCPT, self._named)
        if refusal is not None:
            self._relay.tell("The relay answers RCPT of {} with {} {}.", self._named, refusal.code, refusal.text)
            self._refuse(Step.RCPT, refusal)
        else:
            self._recipient = self._named
            self._say("250 2.1.5 Recipient OK")

    def _usual_data(self) -> None:
        if self._recipient is None and not (self._has_sender and self._relay.setup.lenient):
            self._say(_NO_RECIPIENTS if self._has_sender else _WRONG_ORDER)
            return
        self._in_data = True
        self._buffer = b"\r\n" + self._buffer
        self._say("354 Go ahead")

    def _usual_dot(self) -> None:
        if self._recipient is None:
            self._say(_NO_RECIPIENTS)
            return
        refusal = self._relay.refusal_for(Step.DOT, self._recipient)
        if refusal is None:
            self._accept(and_reply=True)
        else:
            self._relay.tell("The relay answers DOT of {} with {} {}.", self._recipient, refusal.code, refusal.text)
            self._refuse(Step.DOT, refusal)

    def _accept(self, *, and_reply: bool) -> None:
        bounced, recipient = self._bounced, self._recipient
        self._has_sender, self._recipient = False, None
        self._accepted += 1
        if bounced is None or recipient is None:
            self._relay.inspector.fail("a message has no sender of ours", "The relay accepts a message of nobody.")
            return
        self._relay.inspector.accepted(bounced, recipient, self._content)
        if and_reply:
            self._connection.reply(
                b"250 2.0.0 Queued\r\n",
                lambda: self._relay.inspector.acceptance_known(bounced, self._connection.process),
            )

    def _refuse(self, step: Step, refusal: Refusal) -> None:
        if step is Step.DOT:
            self._has_sender, self._recipient = False, None
        if self._bounced is not None and step in (Step.MAIL, Step.RCPT, Step.DATA, Step.DOT):
            self._relay.inspector.refused(self._bounced, refusal)
        self._say(f"{refusal.code} {refusal.text}")
        if refusal.code == 421 or step is Step.CONNECT:  # RFC 5321 §3.8
            self.hang_up()
