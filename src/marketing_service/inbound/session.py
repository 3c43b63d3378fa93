"""The sessions with mail servers, over LMTP (RFC 2033) or SMTP (RFC 5321)."""

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
    from marketing_service.tracking import ReportHandler

log = structlog.get_logger(__name__)

MAX_OCTETS = 10_000_000
"""A report may contain the whole message that it is about."""
_MAX_LINE = 1_000_000
"""Octets. Some systems write longer lines than RFC 5321 §4.5.3.1.6 allows, and their reports are still valid."""
_MAX_RECIPIENTS = 100
"""RFC 5321 §4.5.3.1.8."""
_IDLE_TIMEOUT = 300.0
"""Seconds without a command after which a session is closed (RFC 5321 §4.5.3.2.7)."""

_HANDLED = "250 2.0.0 Done"
_TRY_AGAIN = "451 4.3.0 Not possible now, try again"
_UNKNOWN_ADDRESS = "550 5.1.1 There is no such address here"


class Sessions:
    """All open sessions, and the handler of their commands. aiosmtpd finds the `handle_…` methods by name."""

    def __init__(self, handler: ReportHandler, stats: ListenerStats) -> None:
        self._handler = handler
        self._stats = stats
        self._open: set[_ReportSession] = set()
        self._busy: set[_ReportSession] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def lmtp(self, hostname: str) -> asyncio.Protocol:
        return _LmtpSession(self, hostname)

    def smtp(self, hostname: str) -> asyncio.Protocol:
        return _SmtpSession(self, hostname)

    async def drain(self, seconds: float) -> None:
        """Wait for the reports that are being handled, for at most `seconds`. Then close every session."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            log.warning("listener_drain_cut_short", sessions=len(self._busy))
        await asyncio.gather(*(session.shut_down() for session in list(self._open)), return_exceptions=True)

    def opened(self, session: _ReportSession) -> None:
        self._open.add(session)

    def closed(self, session: _ReportSession) -> None:
        self._open.discard(session)

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, replies: list[str]
    ) -> list[str]:
        session.host_name = hostname
        # aiosmtpd replies in order and keeps unread commands in its buffer. RFC 2920 §3.2 requires no more of a server.
        return [*replies[:-1], "250-PIPELINING", "250 ENHANCEDSTATUSCODES"]

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if not self._handler.accepts(address):
            self._stats.refused += 1
            return _UNKNOWN_ADDRESS
        if len(envelope.rcpt_tos) >= _MAX_RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Yes"

    async def handle_DATA(self, server: _ReportSession, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        raw = envelope.original_content or b""
        self._busy.add(server)
        self._idle.clear()
        try:
            replies = [await self._handle(recipient, raw) for recipient in envelope.rcpt_tos]
        finally:
            self._busy.discard(server)
            if not self._busy:
                self._idle.set()
        return server.combine(replies)

    async def handle_exception(self, error: Exception) -> str:
        log.warning("session_failed", error=type(error).__name__)
        return _TRY_AGAIN

    async def _handle(self, recipient: str, raw: bytes) -> str:
        """The reply for one recipient. It is 250 only after everything is committed."""
        try:
            handled = await self._handler.handle(recipient, raw)
        except Unavailable as error:
            log.warning("report_postponed", reason=error.detail)
            self._stats.postponed += 1
            return _TRY_AGAIN
        except Exception:
            log.exception("report_failed")
            self._stats.postponed += 1
            return _TRY_AGAIN
        self._stats.handled[handled] += 1
        return _HANDLED


class _ReportSession(SMTP):
    """What the LMTP and the SMTP session have in common."""

    line_length_limit = _MAX_LINE

    def __init__(self, sessions: Sessions, hostname: str) -> None:
        self._sessions = sessions
        super().__init__(
            sessions,
            data_size_limit=MAX_OCTETS,
            enable_SMTPUTF8=True,
            hostname=hostname,
            ident="reports",
            timeout=_IDLE_TIMEOUT,
            loop=asyncio.get_running_loop(),
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._sessions.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._sessions.closed(self)

    def combine(self, replies: list[str]) -> str:
        """SMTP has one reply for all recipients. If one report must be delivered again, all must: that is safe, because
        a report that is handled twice changes nothing."""
        return _TRY_AGAIN if _TRY_AGAIN in replies else _HANDLED

    async def shut_down(self) -> None:
        """Send 421 and close the connection (RFC 5321 §3.8)."""
        if self.transport is not None:
            await self.push("421 4.3.2 Closing")
            self.transport.close()


class _SmtpSession(_ReportSession):
    pass


class _LmtpSession(LMTP, _ReportSession):
    """After the final dot there is one reply for each recipient, also for an error (RFC 2033 §4.2)."""

    _replies_due = 0

    def combine(self, replies: list[str]) -> str:
        return "\r\n".join(replies)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        self._replies_due = len(self.envelope.rcpt_tos) if self.envelope else 0
        try:
            await super().smtp_DATA(arg)
        finally:
            self._replies_due = 0

    async def push(self, status: AnyStr) -> None:
        """Repeat an error about a message for each recipient. aiosmtpd sends it only once, as SMTP requires."""
        if isinstance(status, str) and "\r\n" not in status and not status.startswith("354") and self._replies_due:
            await super().push("\r\n".join([str(status)] * self._replies_due))
        else:
            await super().push(status)
