"""One conversation with a mail server, over LMTP (RFC 2033) or SMTP (RFC 5321)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, AnyStr

import structlog
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP

from marketing_service.errors import Unavailable

if TYPE_CHECKING:
    from aiosmtpd.smtp import Envelope, Session

    from marketing_service.inbound.metrics import ListenerStats
    from marketing_service.tracking import Reports

log = structlog.get_logger(__name__)

MAX_OCTETS = 10_000_000
"""A report may bring back the whole message."""
_MAX_LINE = 1_000_000
"""Octets. Other systems write longer lines than RFC 5321 §4.5.3.1.6 has them, and what they report is true still."""
_MAX_RECIPIENTS = 100
"""RFC 5321 §4.5.3.1.8."""
_SILENCE = 300.0
"""Seconds (RFC 5321 §4.5.3.2.7)."""

_TAKEN = "250 2.0.0 Done"
_LATER = "451 4.3.0 Not possible now, try again"
_NOBODY = "550 5.1.1 There is no such address here"


class Sessions:
    """Those that are open, and what they are answered with. aiosmtpd finds the `handle_…` by their names."""

    def __init__(self, reports: Reports, stats: ListenerStats) -> None:
        self._reports = reports
        self._stats = stats
        self._open: set[_Spoken] = set()
        self._at_work: set[_Spoken] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def lmtp(self, hostname: str) -> asyncio.Protocol:
        return _Lmtp(self, hostname)

    def smtp(self, hostname: str) -> asyncio.Protocol:
        return _Smtp(self, hostname)

    async def finish(self, seconds: float) -> None:
        """Wait for what is being written down, for at most so long, then end every conversation."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            log.warning("listener_drain_cut_short", messages=len(self._at_work))
        await asyncio.gather(*(conversation.take_leave() for conversation in list(self._open)), return_exceptions=True)

    def opened(self, conversation: _Spoken) -> None:
        self._open.add(conversation)

    def closed(self, conversation: _Spoken) -> None:
        self._open.discard(conversation)

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, replies: list[str]
    ) -> list[str]:
        session.host_name = hostname
        # It answers in order and reads on from the same buffer, which is all that RFC 2920 §3.2 asks of a server.
        return [*replies[:-1], "250-PIPELINING", "250 ENHANCEDSTATUSCODES"]

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if not self._reports.knows(address):
            self._stats.refused += 1
            return _NOBODY
        if len(envelope.rcpt_tos) >= _MAX_RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Yes"

    async def handle_DATA(self, server: _Spoken, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        raw = envelope.original_content or b""
        self._at_work.add(server)
        self._idle.clear()
        try:
            answers = [await self._take(recipient, raw) for recipient in envelope.rcpt_tos]
        finally:
            self._at_work.discard(server)
            if not self._at_work:
                self._idle.set()
        return server.answer(answers)

    async def handle_exception(self, error: Exception) -> str:
        log.warning("session_failed", error=type(error).__name__)
        return _LATER

    async def _take(self, recipient: str, raw: bytes) -> str:
        """The answer for one recipient; it is 250 only once everything is committed."""
        try:
            handled = await self._reports.take(recipient, raw)
        except Unavailable as error:
            log.warning("report_postponed", reason=error.detail)
            self._stats.postponed += 1
            return _LATER
        except Exception:
            log.exception("report_failed")
            self._stats.postponed += 1
            return _LATER
        self._stats.handled[handled] += 1
        return _TAKEN


class _Spoken(SMTP):
    """What LMTP and SMTP have in common here."""

    line_length_limit = _MAX_LINE

    def __init__(self, sessions: Sessions, hostname: str) -> None:
        self._conversations = sessions
        super().__init__(
            sessions,
            data_size_limit=MAX_OCTETS,
            enable_SMTPUTF8=True,
            hostname=hostname,
            ident="reports",
            timeout=_SILENCE,
            loop=asyncio.get_running_loop(),
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._conversations.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._conversations.closed(self)

    def answer(self, answers: list[str]) -> str:
        """SMTP has one answer for all: where one recipient's report is to come again, all are to, for what has been
        done is not done twice."""
        return _LATER if _LATER in answers else _TAKEN

    async def take_leave(self) -> None:
        """RFC 5321 §3.8."""
        if self.transport is not None:
            await self.push("421 4.3.2 Closing")
            self.transport.close()


class _Smtp(_Spoken):
    pass


class _Lmtp(LMTP, _Spoken):
    """After the final dot one answer for each recipient, whatever is said (RFC 2033 §4.2)."""

    _answers_due = 0

    def answer(self, answers: list[str]) -> str:
        return "\r\n".join(answers)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        self._answers_due = len(self.envelope.rcpt_tos) if self.envelope else 0
        try:
            await super().smtp_DATA(arg)
        finally:
            self._answers_due = 0

    async def push(self, status: AnyStr) -> None:
        """What is wrong with a message aiosmtpd says once, as SMTP has it."""
        if isinstance(status, str) and "\r\n" not in status and not status.startswith("354") and self._answers_due:
            await super().push("\r\n".join([str(status)] * self._answers_due))
        else:
            await super().push(status)
