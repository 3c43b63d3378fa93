"""The rules that several statements share, each defined once, as SQL text.

Statements in Python insert a rule by calling its function. Database functions get it through the placeholders of
`ledger/sql/templates`. A parameter is the alias of the row that the rule reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.store.states import SendStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

_WAITING = (SendStatus.QUEUED, SendStatus.DEFERRED)
UNSETTLED = (*_WAITING, SendStatus.SENDING)
"""The states in which a send still needs work. A campaign without such a send is SENT."""


def _in(statuses: Iterable[SendStatus]) -> str:
    return f"IN ({', '.join(repr(status.value) for status in statuses)})"


def is_waiting(send: str) -> str:
    """The send is not marked and has no outcome yet: it may be marked, skipped or postponed."""
    return f"{send}.status {_in(_WAITING)}"


def is_unsettled(send: str) -> str:
    """The send waits, or is marked and its result is not recorded yet."""
    return f"{send}.status {_in(UNSETTLED)}"


def has_unsettled_sends(batch: str) -> str:
    """The batch is still needed: a batch without an unsettled send is deleted."""
    return (
        f"EXISTS (SELECT FROM marketing_sends s\n"
        f"        WHERE s.campaign_id = {batch}.campaign_id AND s.batch = {batch}.number\n"
        f"          AND {is_unsettled('s')})"
    )


def unsettled_count(campaign: str) -> str:
    """How many unsettled sends the campaign has, by its counters."""
    return " + ".join(f"{campaign}.{status.value.lower()}" for status in UNSETTLED)


def is_expanding(campaign: str) -> str:
    """The campaign is launched and its recipient list is not complete yet."""
    return f"{campaign}.status = 'SENDING' AND {campaign}.expanded_at IS NULL"


def is_expanded(campaign: str) -> str:
    """The campaign's recipient list is complete and some of its sends are unsettled."""
    return f"{campaign}.status = 'SENDING' AND {campaign}.expanded_at IS NOT NULL"


def may_mark(campaign: str) -> str:
    """Sends of the campaign may be marked. A cancelled campaign is included: a send resent later is still mailed."""
    return f"{is_expanded(campaign)} AND {campaign}.paused_at IS NULL"


def predates_cancel(send: str, campaign: str) -> str:
    """A cancel applies to the send; null if the campaign is not cancelled. A send resent after it is not affected."""
    return f"{send}.queued_at <= {campaign}.cancelled_at"


def opt_out_blocks(opt_out: str, *, read_at: str) -> str:
    """The opt-out outweighs what the CRM said at `read_at`: the CRM did not have the opt-out yet at that moment."""
    return f"({opt_out}.confirmed_at IS NULL\n OR {opt_out}.confirmed_at > {read_at})"


def opt_out_missed(opt_out: str, *, contact_id: str) -> str:
    """The opt-out was never brought to this contact in the CRM. This is certain only for a contact that a search for
    the address does not find."""
    return f"{contact_id} <> ALL ({opt_out}.contact_ids)"


def proves_delivery(send: str) -> str:
    """What an UPDATE of marketing_sends sets if something proves that the message arrived: an UNCONFIRMED send is
    DELIVERED. A send in another state does not change."""
    return (
        f"status = CASE {send}.status WHEN 'UNCONFIRMED' THEN 'DELIVERED' ELSE {send}.status END,\n"
        f"sent_at = CASE {send}.status WHEN 'UNCONFIRMED' THEN coalesce({send}.sent_at, {send}.marked_at)"
        f" ELSE {send}.sent_at END"
    )


def is_soon_after_delivery(send: str, seconds: str) -> str:
    """So few seconds have passed since the delivery that no person can have read the message; `seconds` is an SQL
    expression. Before the delivery is recorded, only the receiving side has the message: a gateway scans it before it
    replies, and may then refuse it for now."""
    unconfirmed = f"CASE {send}.status WHEN 'UNCONFIRMED' THEN {send}.unconfirmed_at END"
    delivered_at = f"coalesce({unconfirmed}, {send}.sent_at, {send}.marked_at)"
    return (
        f"({send}.status {_in((SendStatus.SENDING, SendStatus.DEFERRED))}\n"
        f" OR coalesce({delivered_at} > clock_timestamp() - {seconds} * interval '1 second', false))"
    )


def requested_together(send: str, seconds: str) -> str:
    """In so few seconds before now the pixel was loaded, or another link of the message was requested."""
    last = f"greatest({send}.last_opened_at, {send}.link_requested_at)"
    return f"coalesce({last} > clock_timestamp() - {seconds} * interval '1 second', false)"
