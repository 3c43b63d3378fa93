"""The statements about single recipients: expired leases, resends, opt-outs and suppressions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from simulation.model.answers import Answer, Record
from simulation.model.campaigns import skip_address
from simulation.model.counters import move
from simulation.model.rows import OptOut, Suppression, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulation.model.rows import Campaign, Send
    from simulation.model.work import Work

LOST = "The sending process ended before the relay's reply was recorded."


def settle_sends(work: Work, parameters: Mapping[str, Any]) -> Answer:
    moves = [
        (send, replace(send, status="UNCONFIRMED", unconfirmed_at=work.now, error_message=LOST))
        for send in work.sends(parameters["campaign_id"])
        if send.batch in parameters["numbers"] and send.status == "SENDING"
    ]
    move(work, parameters["campaign_id"], moves)
    return Answer([Record.of(id=send.id) for send, _ in moves])


def requeue(work: Work, parameters: Mapping[str, Any]) -> Answer:
    moves: list[tuple[Send, Send]] = []
    for send_id in parameters["send_ids"]:
        send: Send | None = work.find(Table.SENDS, send_id)
        if send is None or send.campaign_id != parameters["campaign_id"] or send.status not in parameters["statuses"]:
            continue
        again = replace(
            send,
            status="QUEUED",
            reason=None,
            smtp_code=None,
            enhanced_code=None,
            error_message=None,
            batch=None,
            due_at=work.now,
            queued_at=work.now,
            tries=0,
            consent_read_at=parameters["read_at"].timestamp(),
        )
        moves.append((send, again))
    return Answer.value(move(work, parameters["campaign_id"], moves))


def add_opt_out(work: Work, parameters: Mapping[str, Any]) -> Answer:
    work.put(OptOut(parameters["org_id"], parameters["address"], work.now))
    return Answer()


def other_campaigns(work: Work, parameters: Mapping[str, Any]) -> Answer:
    """The other campaigns that are SENDING to the address."""
    return _sending_to(work, parameters["org_id"], [parameters["address"]], but=parameters["campaign_id"])


def campaigns_waiting_for(work: Work, parameters: Mapping[str, Any]) -> Answer:
    """The campaigns that are SENDING and in which a send waits for one of the addresses."""
    return _sending_to(work, parameters["org_id"], parameters["addresses"], only_waiting=True)


def _sending_to(
    work: Work, org_id: str, addresses: list[str], *, but: object = None, only_waiting: bool = False
) -> Answer:
    def is_for_one(campaign: Campaign) -> bool:
        return any(
            send.address in addresses and (send.is_waiting or not only_waiting) for send in work.sends(campaign.id)
        )

    campaigns = [
        campaign
        for campaign in work.every(Table.CAMPAIGNS)
        if campaign.org_id == org_id and campaign.status == "SENDING" and campaign.id != but and is_for_one(campaign)
    ]
    return Answer([Record.of(id=campaign.id) for campaign in campaigns])


def skip_opted_out(work: Work, parameters: Mapping[str, Any]) -> Answer:
    return skip_address(work, parameters["campaign_id"], [parameters["address"]], "OPTED_OUT")


def skip_suppressed(work: Work, parameters: Mapping[str, Any]) -> Answer:
    return skip_address(work, parameters["campaign_id"], parameters["addresses"], "SUPPRESSED")


def note_opt_out(work: Work, parameters: Mapping[str, Any]) -> Answer:
    send: Send | None = work.find(Table.SENDS, parameters["send_id"])
    if send is None or send.campaign_id != parameters["campaign_id"]:
        return Answer.value(0)
    at = work.now if send.unsubscribed_at is None else send.unsubscribed_at
    noted = replace(send, unsubscribed_at=at)
    if send.status == "UNCONFIRMED":  # who follows the link has the message
        noted = replace(noted, status="DELIVERED", sent_at=send.marked_at if send.sent_at is None else send.sent_at)
    return Answer.value(move(work, send.campaign_id, [(send, noted)]))


def add_suppressions(work: Work, parameters: Mapping[str, Any]) -> Answer:
    added = 0
    for address in parameters["addresses"]:
        if work.find(Table.SUPPRESSIONS, (parameters["org_id"], address)) is None:
            work.put(Suppression(parameters["org_id"], address, str(parameters["reason"])))
            added += 1
    return Answer(rowcount=added)
