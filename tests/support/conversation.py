"""One SMTP connection of the relay in `tests.support.relay`: the server's side."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, ClassVar, cast

from tests.support.certificate import server_context
from tests.support.script import ORDINARY, Behaviour, Now, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.relay import Relay


def _path(line: str) -> str:
    """`MAIL FROM:<a@b> SIZE=1` → `a@b`."""
    return line.partition("<")[2].rpartition(">")[0]


class Conversation(asyncio.Protocol):
    """Reads commands and messages, looks up the behaviour for each step, replies, and enters accepted messages in the
    relay's ledger."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._searched = 0
        self._greeted = False
        self._in_body = False
        self._body_begun = False
        self._blocked = False
        """True while this connection gets no reply: during a delay or a TLS handshake, or for ever after a silence."""
        self._in_transaction = False
        self._logged_in = relay.credentials is None
        self._secrets: list[str] | None = None
        self._secure = False
        self._number = 0
        self._now = Now(0)
        self._task: asyncio.Task[None] | None = None

    # ── the transport ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._number = self._relay.opened(self)
        self._now = Now(self._number)
        self.proceed()

    def data_received(self, data: bytes) -> None:
        self._relay.octets_received(self._number, data)
        self._buffer += data
        self.proceed()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None
        if self._task is not None:
            self._task.cancel()
        self._relay.closed(self)

    def write(self, octets: bytes) -> None:
        if self._transport is not None:
            self._transport.write(octets)

    def close(self, *, reset: bool = False) -> None:
        self._blocked = True
        if self._transport is not None:
            if reset:
                self._transport.abort()
            else:
                self._transport.close()

    def stall(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_reading():
            self._transport.resume_reading()
        self.proceed()

    # ── reading ──

    def proceed(self) -> None:
        """Process the received octets until more are needed, or until the connection is blocked."""
        while not self._blocked and not self._relay.paused and self._transport is not None:
            if not self._greeted:
                self._greeted = True
                self._take(Step.BANNER, b"220 relay.test ESMTP\r\n")
            elif not (self._read_body() if self._in_body else self._read_line()):
                return

    def _read_line(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        line = self._buffer[:end].decode("utf-8", "replace")
        del self._buffer[: end + 2]
        if self._secrets is not None:
            self._secret(line)
            return True
        self._relay.command_received(self._number, line)
        handler = self._handlers.get(line[:4].upper())
        if handler is None:
            self.write(b"500 5.5.2 What?\r\n")
        else:
            handler(self, line)
        return True

    def _read_body(self) -> bool:
        if not self._body_begun and self._buffer:
            self._body_begun = True
            self._take(Step.BODY, b"")
            return True
        if self._buffer.startswith(b".\r\n"):
            end, rest = 0, 3
        else:
            found = self._buffer.find(b"\r\n.\r\n", max(0, self._searched - 4))
            if found < 0:
                self._searched = len(self._buffer)
                return False
            end, rest = found + 2, found + 5
        content = bytes(self._buffer[:end])
        del self._buffer[:rest]
        self._in_body = False
        if content.startswith(b"."):
            content = content[1:]
        self._now.content = content.replace(b"\r\n..", b"\r\n.")
        has_recipients = bool(self._now.recipients)
        self._take(Step.DOT, b"250 2.0.0 Ok: queued\r\n" if has_recipients else b"554 5.5.1 No valid recipients\r\n")
        return True

    # ── the commands ──

    def _ehlo(self, _line: str) -> None:
        relay = self._relay
        if not relay.extended:
            self._take(Step.EHLO, b"502 5.5.1 Not implemented\r\n")
            return
        words = ["relay.test", "ENHANCEDSTATUSCODES"]
        words += ["PIPELINING"] * relay.pipelining + ["8BITMIME"] * relay.eight_bit
        words += [f"SIZE {relay.size}"] if relay.size is not None else []
        words += ["STARTTLS"] if relay.tls == "starttls" and not self._secure else []
        words += ["AUTH PLAIN LOGIN"] if relay.credentials else []
        lines = [f"250-{word}\r\n" for word in words[:-1]] + [f"250 {words[-1]}\r\n"]
        self._take(Step.EHLO, "".join(lines).encode())

    def _helo(self, _line: str) -> None:
        self._take(Step.EHLO, b"250 relay.test\r\n")

    def _starttls(self, _line: str) -> None:
        self._take(Step.STARTTLS, b"220 2.0.0 Go ahead\r\n")

    def _auth(self, line: str) -> None:
        _, method, *initial = line.split(" ")
        if method.upper() == "PLAIN" and initial:
            self._log_in(*base64.b64decode(initial[0]).decode().split("\0")[1:])
        elif method.upper() == "LOGIN":
            self._secrets = [base64.b64decode(word).decode() for word in initial]
            self.write(b"334 UGFzc3dvcmQ6\r\n" if self._secrets else b"334 VXNlcm5hbWU6\r\n")
        else:
            self.write(b"504 5.5.4 Unknown mechanism\r\n")

    def _secret(self, line: str) -> None:
        assert self._secrets is not None
        self._secrets.append(base64.b64decode(line).decode())
        if len(self._secrets) < 2:
            self.write(b"334 UGFzc3dvcmQ6\r\n")
        else:
            name, password = self._secrets
            self._secrets = None
            self._log_in(name, password)

    def _log_in(self, name: str, password: str) -> None:
        self._logged_in = (name, password) == self._relay.credentials
        good, bad = b"235 2.7.0 Welcome\r\n", b"535 5.7.8 Authentication credentials invalid\r\n"
        self._take(Step.AUTH, good if self._logged_in else bad)

    def _mail_from(self, line: str) -> None:
        if not self._logged_in:
            self._take(Step.MAIL, b"530 5.7.0 Authentication required\r\n")
        elif self._in_transaction:
            self._take(Step.MAIL, b"503 5.5.1 Nested MAIL command\r\n")
        else:
            self._now = Now(self._number, sender=_path(line))
            self._take(Step.MAIL, b"250 2.1.0 Ok\r\n")

    def _rcpt_to(self, line: str) -> None:
        self._now.recipient = _path(line)
        self._take(Step.RCPT, b"250 2.1.5 Ok\r\n" if self._in_transaction else b"503 5.5.1 Need MAIL command\r\n")

    def _data(self, _line: str) -> None:
        if self._now.recipients:
            self._take(Step.DATA, b"354 Go ahead\r\n")
        else:
            self._take(Step.DATA, b"554 5.5.1 No valid recipients\r\n")

    def _rset(self, _line: str) -> None:
        self._in_transaction = False
        self._now = Now(self._number)
        self._take(Step.RSET, b"250 2.0.0 Ok\r\n")

    def _noop(self, _line: str) -> None:
        self._take(Step.NOOP, b"250 2.0.0 Ok\r\n")

    def _quit(self, _line: str) -> None:
        self._take(Step.QUIT, b"221 2.0.0 Bye\r\n")

    # ── replies and behaviours ──

    def _take(self, step: Step, ordinary: bytes) -> None:
        self._behave(step, ordinary, self._relay.behaviour(step, self._now))

    def _behave(self, step: Step, ordinary: bytes, how: Behaviour) -> None:
        if how.call is not None:
            how.call(self._now)
        if how.seconds is not None or how.gate is not None:
            self._blocked = True
            self._task = asyncio.get_running_loop().create_task(self._wait(step, ordinary, how))
        elif how.call is not None and how.then is not None:
            self._behave(step, ordinary, how.then)
        elif how.mute:
            if how.accepting:
                self._relay.accept(self._now)
            if how.hang_up:
                self.close(reset=how.reset)
            self._blocked = True
        elif how.gap is not None and how.reply is not None:
            self._blocked = True
            self._task = asyncio.get_running_loop().create_task(self._dribble(step, how))
        elif not how.is_reply:
            self.write(how.reply or b"")
            if how.then is not None:
                self._behave(step, b"", how.then)
        else:
            self._reply(step, ordinary if how.reply is None else how.reply, how.then)

    def _reply(self, step: Step, reply: bytes, then: Behaviour | None = None, written: int = 0) -> None:
        """Write the reply without its first `written` octets, and change the state accordingly."""
        positive = reply.startswith(b"354" if step is Step.DATA else b"2")
        if step is Step.MAIL and positive:
            self._in_transaction = True
        elif step is Step.RCPT and positive:
            self._now.recipients.append(self._now.recipient)
        elif step is Step.DATA and positive:
            self._in_body, self._body_begun, self._searched = True, False, 0
        elif step is Step.DOT:
            if positive:
                self._relay.accept(self._now)
            self._in_transaction = False
            self._now = Now(self._number)
        self.write(reply[written:])
        if then is not None:
            self._behave(step, b"", then)
        elif step is Step.STARTTLS and positive:
            self._blocked = True
            self._task = asyncio.get_running_loop().create_task(self._upgrade())
        elif reply.startswith((b"421", b"221")) or (step is Step.BANNER and not positive):
            self.close()

    async def _wait(self, step: Step, ordinary: bytes, how: Behaviour) -> None:
        if how.gate is not None:
            await how.gate.wait()
        else:
            await asyncio.sleep(how.seconds or 0.0)
        if self._transport is not None:
            self._blocked = False
            self._behave(step, ordinary, how.then or ORDINARY)
            self.proceed()

    async def _dribble(self, step: Step, how: Behaviour) -> None:
        reply, gap = how.reply or b"", how.gap or 0.0
        for octet in reply[:-1]:
            self.write(bytes([octet]))
            await asyncio.sleep(gap)
        self._blocked = False
        self._reply(step, reply, how.then, written=len(reply) - 1)
        self.proceed()

    async def _upgrade(self) -> None:
        plain = self._transport
        assert plain is not None
        try:
            secure = await asyncio.get_running_loop().start_tls(plain, self, server_context(), server_side=True)
        except OSError:
            plain.abort()
            self.connection_lost(None)
            return
        self._transport = secure
        self._secure, self._blocked = True, False
        self.proceed()

    _handlers: ClassVar[dict[str, Callable[[Conversation, str], None]]] = {
        "EHLO": _ehlo,
        "HELO": _helo,
        "STAR": _starttls,
        "AUTH": _auth,
        "MAIL": _mail_from,
        "RCPT": _rcpt_to,
        "DATA": _data,
        "RSET": _rset,
        "NOOP": _noop,
        "QUIT": _quit,
    }
