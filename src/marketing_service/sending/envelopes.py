"""From a marked send to the envelope that is submitted for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.addresses import is_deliverable
from marketing_service.ports import Envelope
from marketing_service.rendering import MergeFields, NotRenderable, RecipientData, ascii_address
from marketing_service.tokens import Purpose

if TYPE_CHECKING:
    from marketing_service.ledger.commit_results import MarkedSend
    from marketing_service.rendering import CompiledMessage
    from marketing_service.tokens import BounceAddresses, TokenKeyring


class EnvelopeBuilder:
    """Builds the envelopes of one campaign's message. Without `bounces`, the envelope's sender is the From address."""

    def __init__(self, message: CompiledMessage, *, tokens: TokenKeyring, bounces: BounceAddresses | None) -> None:
        self._message = message
        self._tokens = tokens
        self._bounces = bounces

    def build(self, marked: MarkedSend, *, eight_bit: bool) -> Envelope:
        """Raises NotRenderable if no mail can be sent to the address, or no message can be made for the contact."""
        send = marked.send
        email = send.email.strip()
        if not is_deliverable(email):
            raise NotRenderable("No mail can go to this address.")
        personal = RecipientData(
            send_id=send.id,
            fields=MergeFields(email, send.first_name, send.last_name, send.company_name),
            date=marked.first_marked_at,
            unsubscribe_token=self._tokens.issue(Purpose.UNSUBSCRIBE, send.id),
            open_token=self._tokens.issue(Purpose.OPEN, send.id),
            click_token=self._tokens.issue(Purpose.CLICK, send.id) if self._message.links else None,
        )
        return Envelope(
            self._message.from_address if self._bounces is None else self._bounces.of(send.id, marked.attempt),
            ascii_address(email),
            self._message.render(personal, eight_bit=eight_bit),
        )
