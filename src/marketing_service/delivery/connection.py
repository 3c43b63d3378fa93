"""One connection to the relay, and the mail transactions on it (RFC 5321 §3.3, RFC 2920).

This module replaces aiosmtplib's `sendmail`, which cannot be used. With PIPELINING, its reader drops replies that
arrive together. Without PIPELINING, its exceptions do not tell whether a final dot had been written. Here both kinds of
relay get the same transactions; without PIPELINING the commands are sent one at a time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marketing_service.delivery.octets import dot_stuffed, is_smtp_mailbox, mail_from, rcpt_to
from marketing_service.delivery.wire import WireBroken
from marketing_service.ports import RelayDown, Submission, SubmissionOutcome
from marketing_service.replies import Phase, Reply, closes_connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marketing_service.delivery.wire import RawReply, Wire
    from marketing_service.ports import Envelope

_DATA = b"DATA\r\n"
_RSET = b"RSET\r\n"
_NOOP = b"NOOP\r\n"
_DOT = b".\r\n"
_START_MAIL_INPUT = 354
_CHUNK = 65_536
"""Octets. A larger message is written in chunks, each when the write buffer has room for it."""
_MAX_SIZE_DIGITS = 20
"""RFC 1870 §4: the SIZE parameter has at most 20 digits."""
MAX_REFUSALS_IN_A_ROW = 4
"""After so many refused envelopes in a row, a connection takes no more. Postfix delays each reply by a second after ten
refused commands (`smtpd_soft_error_limit`), the one to QUIT too. It counts two for an envelope whose recipient it
refuses: RCPT, and the DATA that was sent with it. Exchange closes a connection after five errors (`MaxProtocolErrors`).
"""
_ENVELOPE_PHASES = (Phase.MAIL, Phase.RCPT, Phase.DATA)
_UNEXPECTED = "the relay's reply does not fit the command"
_INVALID_ADDRESS = Reply.of(553, "5.1.3 The address is not valid in an SMTP command; it was not sent to the relay.")


@dataclass(slots=True)
class _Transaction:
    """An envelope and the state of its transaction."""

    envelope: Envelope
    opened: bool = False
    """Whether its MAIL, RCPT and DATA are written."""
    resets: bool = False
    """Whether an RSET is written before its MAIL."""
    phase: Phase = Phase.MAIL
    dot_written: bool = False


class _Refused(Exception):
    """The relay refused the envelope in the transaction's phase."""

    def __init__(self, reply: RawReply) -> None:
        super().__init__(reply.code)
        self.reply = reply


class SmtpConnection:
    """Submits one envelope after another; a second task may announce the next envelope at the same time.

    If the relay supports PIPELINING, the MAIL, RCPT and DATA of the announced envelope go into the write that ends the
    message before it, or follow it if the announcement comes later. Once they are written, this envelope must be
    submitted next: its DATA is open, and any other message would be delivered to its recipient. So the connection is
    closed if another envelope is submitted.

    `timeout` (seconds) limits each command and each chunk of a message, `data_timeout` the wait for the reply to a
    final dot.
    """

    def __init__(
        self, wire: Wire, extensions: Mapping[str, str], *, messages: int, timeout: float, data_timeout: float
    ) -> None:
        self._wire = wire
        self._extensions = extensions
        self._messages_left = messages
        self.timeout = timeout
        self.data_timeout = data_timeout
        self._pipelining = "pipelining" in extensions
        self._announced: deque[_Transaction] = deque()
        """The transactions that come next. MAIL, RCPT and DATA of the first may be written already."""
        self._dot_pending = False
        """Whether a final dot is sent and not answered, so that the next envelope can be written after it."""
        self._must_reset = False
        self._refused_in_a_row = 0
        self.accepted = 0
        """Number of messages that the relay accepted on this connection."""
        self.closing_reply: Reply | None = None
        """The 421 with which the relay ended the session, if it did."""

    # ── used by the pool ──

    @property
    def usable(self) -> bool:
        """Whether it can take another envelope. Once false, always false."""
        return self._wire.broken is None and (self._messages_left > 0 or self._next_is_open)

    @property
    def eight_bit(self) -> bool:
        """Whether it accepts 8-bit content (RFC 6152)."""
        return "8bitmime" in self._extensions

    @property
    def max_message_octets(self) -> int | None:
        """The largest message that the relay accepts (SIZE, RFC 1870 §4); None if it does not say."""
        limit = self._extensions.get("size", "").strip()
        return int(limit) if limit.isdecimal() and len(limit) <= _MAX_SIZE_DIGITS and int(limit) > 0 else None

    @property
    def between_messages(self) -> bool:
        """Whether no transaction is open, so that another borrower can use it, or QUIT can be sent."""
        return self._wire.broken is None and not self._next_is_open

    @property
    def last_received_at(self) -> float:
        """When the relay last sent something, by the event loop's clock."""
        return self._wire.last_received_at

    async def alive(self, seconds: float) -> bool:
        """Whether the relay replies to a NOOP within `seconds`. If not, the connection is closed."""
        good = False
        try:
            self._wire.write(_NOOP, replies=1)
            good = (await self._wire.read_reply(seconds)).positive
        except WireBroken:
            return False
        finally:
            if not good:
                self._wire.abort()
        return good

    def quit(self) -> None:
        """Close with QUIT if no transaction is open, else at once."""
        if self.between_messages:
            self._wire.quit()
        else:
            self._wire.abort()

    def abort(self) -> None:
        """Close at once."""
        self._wire.abort()

    # ── used by the sender ──

    async def try_sender(self, sender: str) -> Reply | None:
        """Name the sender in a MAIL command without a message. Returns the reply that refuses it; None if it is
        accepted. Raises RelayDown if the connection is lost."""
        try:
            self._wire.write(mail_from(sender, {}, 0), replies=1)
            reply = await self._wire.read_reply(self.timeout)
        except WireBroken as broken:
            raise RelayDown(Phase.MAIL, str(broken)) from None
        return None if reply.positive else self._close_on_421(reply)

    def retire(self) -> None:
        """See MailConnection."""
        self._messages_left = 0

    def announce(self, envelope: Envelope) -> None:
        """See MailConnection."""
        self._announced.append(_Transaction(envelope))
        if self._dot_pending and self._wire.broken is None and (following := self._next_to_pipeline()):
            self._open(following)

    async def submit(self, envelope: Envelope) -> Submission:
        """See MailConnection. On a connection that is not usable, the outcome is NOT_BEGUN.

        There is one exception: the envelope was pipelined, and the relay replied to it before the connection ended.
        Then the reply decides. An address that is not valid in a command is REFUSED without being sent to the relay.
        """
        if self._announced and self._announced[0].envelope is envelope:
            transaction = self._announced.popleft()
        elif self._next_is_open:
            self._wire.abort()
            return Submission(
                SubmissionOutcome.NOT_BEGUN, Phase.MAIL, detail="another envelope was announced on this connection"
            )
        else:
            transaction = _Transaction(envelope)
        if not transaction.opened and (invalid := _invalid_address(envelope)):
            return Submission(SubmissionOutcome.REFUSED, invalid, _INVALID_ADDRESS)
        if not transaction.opened and (too_large := self._too_large(envelope)):
            return Submission(SubmissionOutcome.REFUSED, Phase.MAIL, too_large)
        if why := self._cannot_begin(transaction):
            return Submission(SubmissionOutcome.NOT_BEGUN, Phase.MAIL, detail=why)
        return await self._submit(transaction)

    def _too_large(self, envelope: Envelope) -> Reply | None:
        """The reply that the relay would give at MAIL (RFC 1870 §6.1), if the message is larger than it accepts."""
        limit = self.max_message_octets
        if limit is None or len(envelope.content) <= limit:
            return None
        size = len(envelope.content)
        return Reply.of(552, f"5.3.4 The message has {size} octets; the relay accepts at most {limit}.")

    def _cannot_begin(self, transaction: _Transaction) -> str | None:
        if transaction.opened:
            return None if self._wire.has_reply else self._wire.broken
        if self._messages_left <= 0:
            return self._wire.broken or "the connection has reached its maximum number of messages"
        return self._wire.broken

    async def _submit(self, transaction: _Transaction) -> Submission:
        try:
            reply = await self._transact(transaction)
        except WireBroken as broken:
            self._wire.abort()
            return Submission(self._outcome_of_loss(transaction), transaction.phase, detail=str(broken))
        except BaseException:
            self._wire.abort()
            raise
        finally:
            self._dot_pending = False
        if reply.positive:
            self.accepted += 1
            self._refused_in_a_row = 0
            return Submission(SubmissionOutcome.ACCEPTED, transaction.phase)
        self._refused_in_a_row += 1
        if self._refused_in_a_row >= MAX_REFUSALS_IN_A_ROW:
            self.retire()
        return Submission(SubmissionOutcome.REFUSED, transaction.phase, self._close_on_421(reply))

    def _outcome_of_loss(self, transaction: _Transaction) -> SubmissionOutcome:
        """If the relay closes the connection after it refused the message before, this one is not the reason."""
        if transaction.dot_written:
            return SubmissionOutcome.UNKNOWN
        return SubmissionOutcome.NOT_BEGUN if self._refused_in_a_row else SubmissionOutcome.LOST

    async def _transact(self, transaction: _Transaction) -> RawReply:
        """The reply that decides: the positive one to the final dot, or the negative one that refused the envelope."""
        try:
            if self._pipelining:
                await self._open_as_group(transaction)
            else:
                await self._open_step_by_step(transaction)
            return await self._send(transaction)
        except _Refused as refused:
            return refused.reply

    def _close_on_421(self, raw: RawReply) -> Reply:
        """The decoded reply. If it ends the session, the connection is closed."""
        reply = raw.reply()
        if closes_connection(reply):
            self.closing_reply = reply
            self._wire.abort()
        return reply

    # ── MAIL, RCPT, DATA ──

    def _envelope_commands(self, transaction: _Transaction) -> list[bytes]:
        """The commands that open a transaction: DATA last (RFC 2920 §3.1), and RSET first if one was left open."""
        self._messages_left -= 1
        transaction.opened = True
        transaction.resets, self._must_reset = self._must_reset, False
        envelope = transaction.envelope
        mail = mail_from(envelope.sender, self._extensions, len(envelope.content))
        return [*([_RSET] if transaction.resets else []), mail, rcpt_to(envelope.recipient), _DATA]

    def _open(self, transaction: _Transaction) -> None:
        commands = self._envelope_commands(transaction)
        self._wire.write(b"".join(commands), replies=len(commands))

    async def _open_as_group(self, transaction: _Transaction) -> None:
        """Send the commands as one group, unless they are sent, and read all replies.

        Returns with DATA open; raises _Refused.
        """
        if not transaction.opened:
            self._open(transaction)
        refusals = await self._read_group(transaction)
        if not refusals:
            return
        if self._wire.broken is None:
            if Phase.DATA in refusals:
                self._must_reset = Phase.MAIL not in refusals
            else:
                await self._end_empty_message(recipient_refused=Phase.RCPT in refusals)
        transaction.phase, reply = next(iter(refusals.items()))
        raise _Refused(reply)

    async def _read_group(self, transaction: _Transaction) -> dict[Phase, RawReply]:
        """The negative replies of a group by phase, in order."""
        if transaction.resets:
            await self._read_reset()
        refusals: dict[Phase, RawReply] = {}
        try:
            for phase in _ENVELOPE_PHASES:
                transaction.phase = phase
                reply = await self._wire.read_reply(self.timeout)
                if not _continues(reply, phase):
                    refusals[phase] = reply
                if reply.closing:
                    self._close_on_421(reply)
                    break
        except WireBroken:
            # Some relays refuse and then close the connection. The refusal is still valid.
            if not refusals:
                raise
            self._wire.abort()
        return refusals

    async def _end_empty_message(self, *, recipient_refused: bool) -> None:
        """End a DATA that the relay answered with 354 although it refused the transaction.

        RFC 2920 §3.1 says to send a lone dot. If the recipient was accepted, the dot would deliver an empty message, so
        the connection is closed instead.
        """
        if not recipient_refused:
            self._wire.abort()
            return
        try:
            self._wire.write(_DOT, replies=1)
            self._close_on_421(await self._wire.read_reply(self.timeout))
        except WireBroken:
            self._wire.abort()

    async def _open_step_by_step(self, transaction: _Transaction) -> None:
        """Send one command after another. Returns with DATA open; raises _Refused."""
        *reset, mail, rcpt, data = self._envelope_commands(transaction)
        if reset:
            self._wire.write(_RSET, replies=1)
            await self._read_reset()
        for phase, command in zip(_ENVELOPE_PHASES, (mail, rcpt, data), strict=True):
            transaction.phase = phase
            self._wire.write(command, replies=1)
            reply = await self._wire.read_reply(self.timeout)
            if not _continues(reply, phase):
                self._must_reset = phase is not Phase.MAIL
                raise _Refused(reply)

    async def _read_reset(self) -> None:
        reply = await self._wire.read_reply(self.timeout)
        if not reply.positive:
            self._close_on_421(reply)
            raise WireBroken("the relay does not reset the transaction that it refused")

    # ── the message ──

    async def _send(self, transaction: _Transaction) -> RawReply:
        """Write the message, its final dot and the next envelope. Returns the reply to the dot; raises _Refused."""
        transaction.phase = Phase.DOT
        octets = dot_stuffed(transaction.envelope.content)
        start = 0
        while len(octets) - start > _CHUNK:
            await self._send_chunk(octets[start : start + _CHUNK])
            start += _CHUNK
        following = self._next_to_pipeline()
        commands = self._envelope_commands(following) if following else []
        self._wire.write(b"".join((octets[start:], _DOT, *commands)), replies=1 + len(commands))
        transaction.dot_written = self._dot_pending = True
        reply = await self._wire.read_reply(self.data_timeout)
        if not (reply.positive or reply.negative):
            raise WireBroken(_UNEXPECTED)
        return reply

    async def _send_chunk(self, octets: bytes) -> None:
        try:
            self._wire.write(octets, replies=0)
            await self._wire.drained(self.timeout)
        except WireBroken:
            # Some relays refuse a message before its end and then close the connection.
            early = self._wire.early_reply()
            self._wire.abort()
            if early is not None and early.negative:
                raise _Refused(early) from None
            raise

    @property
    def _next_is_open(self) -> bool:
        return bool(self._announced) and self._announced[0].opened

    def _next_to_pipeline(self) -> _Transaction | None:
        """The next transaction, if its commands may be written before the reply to the current message."""
        if not self._announced or not self._pipelining or self._messages_left <= 0:
            return None
        following = self._announced[0]
        if following.opened or _invalid_address(following.envelope) or self._too_large(following.envelope):
            return None
        return following


def _invalid_address(envelope: Envelope) -> Phase | None:
    """The command for which the envelope's address is not valid, if any. An empty sender is valid (RFC 5321 §4.5.5)."""
    if envelope.sender and not is_smtp_mailbox(envelope.sender):
        return Phase.MAIL
    return None if is_smtp_mailbox(envelope.recipient) else Phase.RCPT


def _continues(reply: RawReply, phase: Phase) -> bool:
    """Whether the transaction continues; False if the relay refused. Raises WireBroken for any other reply."""
    if reply.code == _START_MAIL_INPUT if phase is Phase.DATA else reply.positive:
        return True
    if not reply.negative:
        raise WireBroken(_UNEXPECTED)
    return False
