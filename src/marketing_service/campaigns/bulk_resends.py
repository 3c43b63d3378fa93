"""Bulk resends: all FAILED or UNCONFIRMED sends of a campaign, or those with some reasons, are queued again.

A request counts what matches. Workers then do it in steps: they read the next sends that match, ask the CRM for the
consent of each contact, and queue those again that may be mailed. A step is committed as a whole, with the place where
the next one begins, so a worker that ends in the middle of it has changed nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from marketing_service.addresses import is_findable
from marketing_service.campaigns import drafts
from marketing_service.campaigns.audit import record
from marketing_service.errors import NotFound, Unavailable, WrongState
from marketing_service.ledger.resend import requeue_all
from marketing_service.ports import AudienceError
from marketing_service.store import opt_outs, resends
from marketing_service.store.audit import SYSTEM, Action, Actor
from marketing_service.store.campaigns import lock_campaign
from marketing_service.store.states import CampaignStatus, ResendRefusal
from marketing_service.store.suppressions import suppressed_among

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from marketing_service.db import Transaction, Transactions
    from marketing_service.ports import AudienceSource, Contact
    from marketing_service.store.resends import BulkResend, Candidate, ClaimedResend, Progress
    from marketing_service.store.states import FailReason, SendStatus

log = structlog.get_logger(__name__)

STEP = 1_000
"""How many sends a step queues again at most."""
WINDOW = 20_000
"""How many sends a step reads at most."""
_CONCURRENT = 16
"""How many contacts are requested at the same time."""


async def request(
    tx: Transaction,
    actor: Actor,
    campaign_id: UUID,
    *,
    statuses: Collection[SendStatus],
    reasons: Collection[FailReason],
) -> BulkResend:
    """Have workers queue the sends again that are in one of these states, for one of these reasons (empty: for any).

    Raises NotFound; WrongState if the campaign has no sends, or if an earlier bulk resend of it is not finished.
    """
    campaign = await drafts.lock(tx, actor.org_id, campaign_id)
    if campaign.status not in {CampaignStatus.SENDING, CampaignStatus.SENT}:
        raise WrongState(
            f"This campaign is {campaign.status}. Only a SENDING or SENT campaign has sends to send again."
        )
    if await resends.has_unfinished(tx.connection, campaign_id):
        raise WrongState("An earlier request to send again is not finished. Wait until it is `done`.")
    added = await resends.add_resend(
        tx.connection, campaign_id=campaign_id, created_by=actor.subject, statuses=statuses, reasons=reasons
    )
    await record(
        tx,
        actor,
        Action.RESENT,
        campaign_id,
        resendId=str(added.id),
        status=[status.value for status in statuses],
        reason=[reason.value for reason in reasons],
        matching=added.matching,
    )
    return added


async def get(tx: Transaction, org_id: str, campaign_id: UUID, resend_id: UUID) -> BulkResend:
    """The bulk resend with its progress. Raises NotFound."""
    found = await resends.find_resend(tx.connection, org_id=org_id, campaign_id=campaign_id, resend_id=resend_id)
    if found is None:
        raise NotFound("This campaign has no such request to send again. Check the ids.")
    return found


class BulkResender:
    """Does the steps of the bulk resends of all organisations, in turn, in one worker process. `lease`: the seconds for
    which a step belongs to this process; the CRM is asked for at most half of that time."""

    def __init__(self, transactions: Transactions, audience: AudienceSource, *, lease: float) -> None:
        self._transactions = transactions
        self._audience = audience
        self._lease = lease
        self._draining = False

    def drain(self) -> None:
        """Start no further step."""
        self._draining = True

    async def run(self) -> None:
        """Do one step of each bulk resend that no other worker works on, again and again, until none is due. One whose
        step fails is left out, so that the others continue. Raises Unavailable (PostgreSQL)."""
        after: UUID | None = None
        failed: set[UUID] = set()
        while not self._draining:
            async with self._transactions() as tx:
                claimed = await resends.claim_resend(tx.connection, after=after, without=failed, lease=self._lease)
            if claimed is not None:
                try:
                    await self._do_step(claimed)
                except Unavailable:
                    raise
                except Exception:
                    log.exception("resend_step_failed", resend_id=str(claimed.id))
                    failed.add(claimed.id)
            elif after is None:
                return
            # After the newest one, the oldest one is next.
            after = None if claimed is None else claimed.id

    async def _do_step(self, claimed: ClaimedResend) -> None:
        async with self._transactions() as tx:
            found, after = await resends.candidates(tx.connection, claimed, limit=STEP, window=WINDOW)
        asked, unavailable = await self._ask(claimed.org_id, found)
        if unavailable is not None:
            log.warning("resend_postponed", resend_id=str(claimed.id), error=str(unavailable))
        if len(asked) < len(found):
            after = found[len(asked) - 1].contact_id if asked else claimed.after_contact
        sends = found[: len(asked)]
        async with self._transactions() as tx:
            await _queue_again(tx, claimed, sends, asked, after=after, is_postponed=unavailable is not None)

    async def _ask(self, org_id: str, found: Sequence[Candidate]) -> tuple[list[Contact | None], AudienceError | None]:
        """What the CRM says about the first of these contacts, in their order; and the error that ended it, if one did.
        Asks for at most half of the lease."""
        until = time.monotonic() + self._lease / 2
        asked: list[Contact | None] = []
        while len(asked) < len(found) and (not asked or time.monotonic() < until):
            group = found[len(asked) : len(asked) + _CONCURRENT]
            answers = await asyncio.gather(
                *(self._audience.contact(org_id, each.contact_id) for each in group), return_exceptions=True
            )
            for answer in answers:
                if isinstance(answer, AudienceError):
                    return asked, answer
                if isinstance(answer, BaseException):
                    raise answer
                asked.append(answer)
        return asked, None


async def _queue_again(
    tx: Transaction,
    claimed: ClaimedResend,
    sends: Sequence[Candidate],
    asked: Sequence[Contact | None],
    *,
    after: str | None,
    is_postponed: bool,
) -> None:
    """Queue the sends again that may be mailed, and record the step. Does nothing if another worker has claimed it."""
    campaign = await lock_campaign(tx.connection, claimed.campaign_id)
    progress = await resends.lock_step(tx.connection, claimed)
    if campaign is None or progress is None:
        return
    if campaign.cancelled_at is not None and campaign.cancelled_at > claimed.created_at:
        # A cancel ends what was requested before it.
        await _finish(tx, claimed, progress, rest=ResendRefusal.CANCELLED)
        return
    refusals = await _refusals(tx, claimed, sends, asked)
    mailable = [send.id for send, refusal in zip(sends, refusals, strict=True) if refusal is None]
    moved = await requeue_all(
        tx.connection,
        campaign_id=claimed.campaign_id,
        send_ids=mailable,
        statuses=claimed.statuses,
        read_at=claimed.claimed_at,
    )
    refused = Counter(progress.refused)
    refused.update(refusal.value for refusal in refusals if refusal is not None)
    refused[ResendRefusal.CHANGED.value] += len(mailable) - moved
    progress = replace(progress, accepted=progress.accepted + moved, refused=+refused)
    if after is None:
        await _finish(tx, claimed, progress, rest=ResendRefusal.CHANGED)
    else:
        await resends.record_step(tx.connection, claimed, progress, after=after, is_postponed=is_postponed)


async def _refusals(
    tx: Transaction, claimed: ClaimedResend, sends: Sequence[Candidate], asked: Sequence[Contact | None]
) -> list[ResendRefusal | None]:
    """Why each send may not be mailed again; None: it may."""
    addresses = [send.address for send in sends]
    unfindable = [
        (contact.id, send.address)
        for send, contact in zip(sends, asked, strict=True)
        if contact is not None and not is_findable(contact.email or "", send.address)
    ]
    blocked = await opt_outs.blocked_among(
        tx.connection, org_id=claimed.org_id, addresses=addresses, read_at=claimed.claimed_at
    )
    missed = await opt_outs.missed_among(tx.connection, org_id=claimed.org_id, unfindable=unfindable)
    suppressed = await suppressed_among(tx.connection, org_id=claimed.org_id, addresses=addresses)

    def refusal(send: Candidate, contact: Contact | None) -> ResendRefusal | None:
        if contact is None:
            return ResendRefusal.NOT_IN_CRM
        if contact.marketing_opt_out or send.address in blocked or contact.id in missed:
            return ResendRefusal.OPTED_OUT
        return ResendRefusal.SUPPRESSED if send.address in suppressed else None

    return [refusal(send, contact) for send, contact in zip(sends, asked, strict=True)]


async def _finish(tx: Transaction, claimed: ClaimedResend, progress: Progress, *, rest: ResendRefusal) -> None:
    """End the bulk resend. Sends that matched when it was requested, and were not found again, are refused for
    `rest`."""
    refused = Counter(progress.refused)
    refused[rest.value] += max(0, progress.matching - progress.accepted - refused.total())
    final = replace(progress, refused=+refused)
    await resends.record_step(tx.connection, claimed, final, after=None)
    details: dict[str, Any] = {"accepted": final.accepted, "refused": dict(final.refused)}
    actor, resend_id = Actor(claimed.org_id, SYSTEM), str(claimed.id)
    await record(tx, actor, Action.RESEND_FINISHED, claimed.campaign_id, resendId=resend_id, **details)
    log.info("resend_finished", resend_id=resend_id, **details)
