"""One connection to the relay, and the mail transactions on it (RFC 5321 §3.3, RFC 2920).

aiosmtplib's `sendmail` is used neither with PIPELINING, because its reader drops replies that come together, nor
without, because its exceptions do not tell whether a final dot had been written: both kinds of relay get the same
transactions from here, one command at a time where there is no PIPELINING.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marketing_service.delivery.octets import mail_from, rcpt_to, sendable, stuffed
from marketing_service.delivery.wire import WireBroken
from marketing_service.ports import Submission, SubmissionOutcome
from marketing_service.replies import Phase, Reply, closes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marketing_service.delivery.wire import Answer, Wire
    from marketing_service.ports import Envelope

_DATA = b"DATA\r\n"
_RSET = b"RSET\r\n"
_NOOP = b"NOOP\r\n"
_DOT = b".\r\n"
_GO_AHEAD = 354
# A message larger than this is written piece by piece, each when there is room for it.
_PIECE = 65_536
_OPENING = (Phase.MAIL, Phase.RCPT, Phase.DATA)
_OUT_OF_PLACE = "the relay's reply is out of place"
_UNSENDABLE = Reply.of(553, "5.1.3 The address cannot stand in an SMTP command; it was not offered to the relay.")


@dataclass(slots=True)
class _Transaction:
    """An envelope, and how far it has come."""

    envelope: Envelope
    opened: bool = False
    """Its MAIL, RCPT and DATA are written."""
    resets: bool = False
    phase: Phase = Phase.MAIL
    dot_written: bool = False


class _Refused(Exception):
    """The relay said no, in the transaction's phase."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.code)
        self.answer = answer


class SmtpConnection:
    """Hands over one envelope after the other; a second task may meanwhile announce the next.

    Where the relay knows PIPELINING, the MAIL, RCPT and DATA of the envelope announced travel in the write that ends
    the message before it, or, if it is announced later, behind that. Once they are written it must come next: its DATA
    is open, and whatever else came would be delivered in its name. The connection is closed if another one comes.
    """

    def __init__(
        self, wire: Wire, extensions: Mapping[str, str], *, messages: int, seconds: float, data_seconds: float
    ) -> None:
        self._wire = wire
        self._extensions = extensions
        self._messages_left = messages
        self._seconds = seconds
        self._data_seconds = data_seconds
        self._pipelining = "pipelining" in extensions
        self._line: deque[_Transaction] = deque()
        """What is announced to come next. Of the first, MAIL, RCPT and DATA may be written, and no replies read."""
        self._may_open_ahead = False
        """Whether a final dot is on its way, and what is announced can travel behind it."""
        self._must_reset = False
        self.accepted = 0
        """How many messages the relay took on it."""
        self.dismissal: Reply | None = None
        """The 421 with which the relay ended the conversation, if it did."""

    # ── for the pool ──

    @property
    def usable(self) -> bool:
        """Whether it can take another envelope. Once false, always false."""
        return self._wire.broken is None and (self._messages_left > 0 or self._is_open_ahead)

    @property
    def eight_bit(self) -> bool:
        """Whether it takes 8-bit content (RFC 6152)."""
        return "8bitmime" in self._extensions

    @property
    def between_messages(self) -> bool:
        """Whether nothing is under way, so that somebody else may use it, or QUIT be said."""
        return self._wire.broken is None and not self._is_open_ahead

    @property
    def heard_at(self) -> float:
        """When the relay last said something, by the event loop's clock."""
        return self._wire.heard_at

    async def alive(self, seconds: float) -> bool:
        """Whether the relay still answers a NOOP within so many seconds; if not, the connection is closed."""
        good = False
        try:
            self._wire.write(_NOOP, replies=1)
            good = (await self._wire.answer(seconds)).positive
        except WireBroken:
            return False
        finally:
            if not good:
                self._wire.abort()
        return good

    def leave(self) -> None:
        """QUIT, where that can be said; else close."""
        if self.between_messages:
            self._wire.leave()
        else:
            self._wire.abort()

    def abort(self) -> None:
        """Close at once."""
        self._wire.abort()

    # ── for the sender ──

    def announce(self, envelope: Envelope) -> None:
        """See MailConnection."""
        self._line.append(_Transaction(envelope))
        if self._may_open_ahead and self._wire.broken is None and (ahead := self._can_travel_ahead()):
            self._open(ahead)

    async def submit(self, envelope: Envelope) -> Submission:
        """See MailConnection. Where the connection is not usable, the envelope is NOT_BEGUN; but if it was opened
        ahead, and the relay said what it thinks of it before the connection ended, that counts.

        An address that cannot stand in a command is REFUSED here, without a word to the relay.
        """
        if self._line and self._line[0].envelope is envelope:
            transaction = self._line.popleft()
        elif self._is_open_ahead:
            self._wire.abort()
            return Submission(
                SubmissionOutcome.NOT_BEGUN, Phase.MAIL, detail="another envelope was announced on this connection"
            )
        else:
            transaction = _Transaction(envelope)
        if not transaction.opened and (unsendable := _unsendable(envelope)):
            return Submission(SubmissionOutcome.REFUSED, unsendable, _UNSENDABLE)
        if why := self._cannot_begin(transaction):
            return Submission(SubmissionOutcome.NOT_BEGUN, Phase.MAIL, detail=why)
        return await self._hand_over(transaction)

    def _cannot_begin(self, transaction: _Transaction) -> str | None:
        if transaction.opened:
            return None if self._wire.is_answered else self._wire.broken
        if self._messages_left <= 0:
            return self._wire.broken or "the connection has carried its share of messages"
        return self._wire.broken

    async def _hand_over(self, transaction: _Transaction) -> Submission:
        try:
            answer = await self._transact(transaction)
        except WireBroken as broken:
            self._wire.abort()
            outcome = SubmissionOutcome.UNKNOWN if transaction.dot_written else SubmissionOutcome.LOST
            return Submission(outcome, transaction.phase, detail=str(broken))
        except BaseException:
            self._wire.abort()
            raise
        finally:
            self._may_open_ahead = False
        if answer.positive:
            self.accepted += 1
            return Submission(SubmissionOutcome.ACCEPTED, transaction.phase)
        return Submission(SubmissionOutcome.REFUSED, transaction.phase, self._noted(answer))

    async def _transact(self, transaction: _Transaction) -> Answer:
        """The reply that decides: a positive one to the final dot, or a negative one in the transaction's phase."""
        try:
            if self._pipelining:
                await self._open_as_group(transaction)
            else:
                await self._open_step_by_step(transaction)
            return await self._send(transaction)
        except _Refused as refused:
            return refused.answer

    def _noted(self, answer: Answer) -> Reply:
        reply = answer.reply()
        if closes(reply):
            self.dismissal = reply
            self._wire.abort()
        return reply

    # ── MAIL, RCPT, DATA ──

    def _opening(self, transaction: _Transaction) -> list[bytes]:
        """The commands that open a transaction: DATA last (RFC 2920 §3.1), RSET first where one was left open."""
        self._messages_left -= 1
        transaction.opened = True
        transaction.resets, self._must_reset = self._must_reset, False
        envelope = transaction.envelope
        mail = mail_from(envelope.sender, self._extensions, len(transaction.envelope.content))
        return [*([_RSET] if transaction.resets else []), mail, rcpt_to(envelope.recipient), _DATA]

    def _open(self, transaction: _Transaction) -> None:
        commands = self._opening(transaction)
        self._wire.write(b"".join(commands), replies=len(commands))

    async def _open_as_group(self, transaction: _Transaction) -> None:
        """Send the group, unless it is sent, and read all its replies. Returns with DATA open; raises _Refused."""
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
        transaction.phase, answer = next(iter(refusals.items()))
        raise _Refused(answer)

    async def _read_group(self, transaction: _Transaction) -> dict[Phase, Answer]:
        """The refusals among a group's replies, the first first."""
        if transaction.resets:
            await self._read_reset()
        refusals: dict[Phase, Answer] = {}
        try:
            for phase in _OPENING:
                transaction.phase = phase
                answer = await self._wire.answer(self._seconds)
                if not _goes_on(answer, phase):
                    refusals[phase] = answer
                if answer.closing:
                    self._noted(answer)
                    break
        except WireBroken:
            # Some relays refuse and hang up: a no stays a no.
            if not refusals:
                raise
            self._wire.abort()
        return refusals

    async def _end_empty_message(self, *, recipient_refused: bool) -> None:
        """DATA was answered 354 though the transaction is refused; RFC 2920 §3.1: send a lone dot.

        It would deliver an empty message to a recipient that was taken, so then the connection is closed instead.
        """
        if not recipient_refused:
            self._wire.abort()
            return
        try:
            self._wire.write(_DOT, replies=1)
            self._noted(await self._wire.answer(self._seconds))
        except WireBroken:
            self._wire.abort()

    async def _open_step_by_step(self, transaction: _Transaction) -> None:
        """Send one command after the other. Returns with DATA open; raises _Refused."""
        *reset, mail, rcpt, data = self._opening(transaction)
        if reset:
            self._wire.write(_RSET, replies=1)
            await self._read_reset()
        for phase, command in zip(_OPENING, (mail, rcpt, data), strict=True):
            transaction.phase = phase
            self._wire.write(command, replies=1)
            answer = await self._wire.answer(self._seconds)
            if not _goes_on(answer, phase):
                self._must_reset = phase is not Phase.MAIL
                raise _Refused(answer)

    async def _read_reset(self) -> None:
        answer = await self._wire.answer(self._seconds)
        if not answer.positive:
            self._noted(answer)
            raise WireBroken("the relay does not forget the transaction it refused")

    # ── the message ──

    async def _send(self, transaction: _Transaction) -> Answer:
        """Write the message, its dot and what opens the next; return the dot's reply. Raises _Refused."""
        transaction.phase = Phase.DOT
        octets = stuffed(transaction.envelope.content)
        start = 0
        while len(octets) - start > _PIECE:
            await self._send_piece(octets[start : start + _PIECE])
            start += _PIECE
        ahead = self._can_travel_ahead()
        commands = self._opening(ahead) if ahead else []
        self._wire.write(b"".join((octets[start:], _DOT, *commands)), replies=1 + len(commands))
        transaction.dot_written = self._may_open_ahead = True
        answer = await self._wire.answer(self._data_seconds)
        if not (answer.positive or answer.negative):
            raise WireBroken(_OUT_OF_PLACE)
        return answer

    async def _send_piece(self, octets: bytes) -> None:
        try:
            self._wire.write(octets, replies=0)
            await self._wire.drained(self._seconds)
        except WireBroken:
            # Some relays refuse a message before its end, and hang up.
            early = self._wire.early_answer()
            self._wire.abort()
            if early is not None and early.negative:
                raise _Refused(early) from None
            raise

    @property
    def _is_open_ahead(self) -> bool:
        return bool(self._line) and self._line[0].opened

    def _can_travel_ahead(self) -> _Transaction | None:
        """What comes next, where it may be opened before the relay has answered for the message before it."""
        if not self._line or not self._pipelining or self._messages_left <= 0:
            return None
        ahead = self._line[0]
        return None if ahead.opened or _unsendable(ahead.envelope) else ahead


def _unsendable(envelope: Envelope) -> Phase | None:
    """The command the envelope's address would spoil, if any. The null sender is an address (RFC 5321 §4.5.5)."""
    if envelope.sender and not sendable(envelope.sender):
        return Phase.MAIL
    return None if sendable(envelope.recipient) else Phase.RCPT


def _goes_on(answer: Answer, phase: Phase) -> bool:
    """Whether the transaction may go on; False where it is refused. Raises WireBroken where the reply is neither."""
    if answer.code == _GO_AHEAD if phase is Phase.DATA else answer.positive:
        return True
    if not answer.negative:
        raise WireBroken(_OUT_OF_PLACE)
    return False
