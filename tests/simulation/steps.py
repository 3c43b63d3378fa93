"""Generated steps for two ledgers: every function of the engine that reads or changes the ledger."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from marketing_service.addresses import mailbox_key
from marketing_service.ledger import commit_results, expired_leases, lifecycle, opt_outs, resend, suppressions
from marketing_service.ledger.commit_results import SendResult
from marketing_service.store import batches, relay_pauses
from marketing_service.store.batches import Claim, WaitingSend
from marketing_service.store.campaigns import active_campaigns, lock_campaign
from marketing_service.store.states import SendStatus, SuppressionOrigin, SuppressionReason
from marketing_service.store.suppressions import SuppressionEntry
from simulation.model.rows import Batch, Campaign, Send, Table
from tests.simulation.ledgers import ORG

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.db import Call
    from simulation.model.rows import Row, Tables

_LONG = 5000.0
_RESULTS = (
    SendStatus.DELIVERED,
    SendStatus.DELIVERED,
    SendStatus.DEFERRED,
    SendStatus.FAILED,
    SendStatus.QUEUED,
    SendStatus.UNCONFIRMED,
)


@dataclass(frozen=True)
class Step:
    """One step; `run` gets a connection inside a transaction, or with `is_call` the call of the database."""

    name: str
    run: Callable[[Any], Awaitable[Any]]
    is_call: bool = False


def first_rows(rng: random.Random) -> list[Row]:
    """One or two campaigns, each with some sends in some batches."""
    rows: list[Row] = []
    started = time.time() - 2 * _LONG
    for place in range(rng.randint(1, 2)):
        campaign_id = UUID(int=0xC000 + place)
        count = rng.randint(1, 5)
        per_batch = rng.choice((1, 2))
        numbers = [number // per_batch for number in range(count)]
        next_batch = numbers[-1] + 1
        rows.append(
            Campaign(
                campaign_id,
                ORG,
                expanded_at=started,
                audience_read_at=started,
                recipients=count,
                queued=count,
                next_batch=next_batch,
                first_retry_batch=rng.randint(0, next_batch),
            )
        )
        rows += [Batch(ORG, campaign_id, number) for number in range(next_batch)]
        for number, batch in enumerate(numbers):
            email = f"person{number}@example.com"
            send_id = UUID(int=0x5000 + 0x100 * place + number)
            rows.append(Send(send_id, ORG, campaign_id, email, email, batch=batch, queued_at=started))
    return rows


class Steps:
    """Makes the next step from the rows as they are."""

    def __init__(self, rng: random.Random, tables: Tables) -> None:
        self._rng = rng
        self._tables = tables

    def next(self) -> Step:
        rng = self._rng
        makers = {
            self._commit: 10,
            self._batch_step: 8,
            self._campaign_step: 3,
            self._recipient_step: 4,
            self._relay_step: 2,
            self._sweep_step: 5,
        }
        make = rng.choices(list(makers), list(makers.values()))[0]
        return make()

    # ── arguments ──

    def _rows(self, table: Table) -> list[Any]:
        return list(self._tables.rows[table].values())

    def _campaign_id(self) -> UUID:
        campaign: Campaign = self._rng.choice(self._rows(Table.CAMPAIGNS))
        return campaign.id

    def _claim_of(self, campaign_id: UUID, number: int | None) -> Claim:
        """The current claim of a batch, or sometimes an older one."""
        batch = self._tables.rows[Table.BATCHES].get((campaign_id, number))
        epoch = batch.epoch if isinstance(batch, Batch) else 1
        return Claim(ORG, campaign_id, number or 0, max(0, epoch - (self._rng.random() < 0.15)))

    def _any_claim(self) -> Claim:
        found: list[Batch] = self._rows(Table.BATCHES)
        if not found:
            return Claim(ORG, self._campaign_id(), 0, 1)
        batch = self._rng.choice(found)
        return self._claim_of(batch.campaign_id, batch.number)

    def _lease(self) -> float:
        return self._rng.choice((_LONG, _LONG, _LONG, -_LONG))

    def _delay(self) -> float:
        return self._rng.choice((-1.0, _LONG))

    # ── steps ──

    def _commit(self) -> Step:
        campaign_id = self._campaign_id()
        results: list[SendResult] = []
        to_mark: list[tuple[Claim, WaitingSend]] = []
        for send in self._rows(Table.SENDS):
            if send.campaign_id != campaign_id or self._rng.random() < 0.3:
                continue
            claim = self._claim_of(campaign_id, send.batch)
            if send.status in ("SENDING", "UNCONFIRMED") and self._rng.random() < 0.9:
                results.append(self._result(claim, send))
            else:
                to_mark.append((claim, WaitingSend(send.id, send.email, None, None, None)))
        if self._rng.random() < 0.1:
            return Step(
                f"look at {results}, {to_mark}",
                lambda call: commit_results.committed_before(call, campaign_id, results=results, to_mark=to_mark),
                is_call=True,
            )
        if self._rng.random() < 0.2:
            ambiguous = self._rng.random() < 0.7
            return Step(
                f"record {results}",
                lambda connection: commit_results.record(
                    connection, campaign_id, results=results, resend_ambiguous=ambiguous
                ),
            )
        return Step(
            f"commit {results}, mark {to_mark}",
            lambda call: commit_results.commit_results(call, campaign_id, results=results, to_mark=to_mark),
            is_call=True,
        )

    def _result(self, claim: Claim, send: Send) -> SendResult:
        status = self._rng.choice(_RESULTS)
        is_refused = status in (SendStatus.DEFERRED, SendStatus.FAILED)
        return SendResult(
            claim,
            send.id,
            max(1, send.attempts - (self._rng.random() < 0.1)),
            status,
            reason="REJECTED" if status is SendStatus.FAILED else None,
            smtp_code=450 if is_refused else None,
            enhanced_code="4.2.0" if is_refused else None,
            message="Try later" if is_refused else None,
            delay=self._delay() if status in (SendStatus.DEFERRED, SendStatus.UNCONFIRMED) else None,
        )

    def _batch_step(self) -> Step:
        claim, lease = self._any_claim(), self._lease()
        sends = [s for s in self._rows(Table.SENDS) if (s.campaign_id, s.batch) == (claim.campaign_id, claim.number)]
        delays = {send.id: self._delay() for send in sends if self._rng.random() < 0.5}
        seconds = self._rng.choice((0.0, _LONG))

        def claim_it(connection: AsyncConnection) -> Awaitable[Any]:
            return batches.claim_batch(connection, claim.campaign_id, claim.number, lease=lease)

        def next_one(call: Call) -> Awaitable[Any]:
            return batches.next_batch(call, claim, lease=lease)

        return self._rng.choice(
            (
                Step(f"claim {claim}", claim_it),
                Step(f"claim {claim}", claim_it),
                Step(f"claim {claim}", claim_it),
                Step(f"renew {claim}", lambda c: batches.renew_leases(c, [claim], lease=lease)),
                Step(f"release {claim}", lambda c: batches.release_batch(c, claim)),
                Step(f"release {claim}, claim the next", next_one, is_call=True),
                Step(f"release {claim}, claim the next", next_one, is_call=True),
                Step(f"postpone {delays} of {claim}", lambda c: batches.postpone_sends(c, claim, delays)),
                Step(
                    f"requeue {claim} later",
                    lambda c: batches.requeue_batch_later(c, claim, seconds=seconds, requeue_after=2000.0),
                ),
            )
        )

    def _campaign_step(self) -> Step:
        campaign_id = self._campaign_id()
        reason = self._rng.choice(list(lifecycle.PauseReason))
        limit = self._rng.choice((1, 100))

        async def skip(connection: AsyncConnection) -> int:
            await lock_campaign(connection, campaign_id)
            # Which sends are skipped first is not defined.
            return await lifecycle.skip_cancelled(connection, campaign_id, limit=100)

        return self._rng.choice(
            (
                Step(f"pause {reason}", lambda c: lifecycle.pause(c, campaign_id, reason, message="No.")),
                Step("resume", lambda c: lifecycle.resume(c, campaign_id)),
                Step("resume", lambda c: lifecycle.resume(c, campaign_id)),
                Step("resume after the relay", lambda c: lifecycle.resume_after_relay(c, campaign_id)),
                Step("cancel", lambda c: lifecycle.cancel(c, campaign_id)) if limit == 1 else Step("skip", skip),
                Step("skip what is cancelled", skip),
                Step("lock", lambda c: lock_campaign(c, campaign_id)),
            )
        )

    def _recipient_step(self) -> Step:
        send: Send = self._rng.choice(self._rows(Table.SENDS))
        address = mailbox_key(send.email)
        read_at = datetime.now(UTC)

        async def suppress(connection: AsyncConnection) -> int:
            locked = await suppressions.lock_campaigns_waiting_for(connection, org_id=ORG, addresses=[address])
            return await suppressions.suppress(
                connection,
                org_id=ORG,
                entries=[SuppressionEntry(address)],
                reason=SuppressionReason.MANUAL,
                origin=SuppressionOrigin.API,
                locked=locked,
            )

        async def resend_it(connection: AsyncConnection) -> bool:
            return await resend.requeue(connection, campaign_id=send.campaign_id, send_id=send.id, read_at=read_at)

        wanted = [each.id for each in self._rows(Table.SENDS) if self._rng.random() < 0.7]
        statuses = self._rng.choice((resend.RESENDABLE, (SendStatus.FAILED,), (SendStatus.UNCONFIRMED,)))

        async def resend_all(connection: AsyncConnection) -> int:
            return await resend.requeue_all(
                connection, campaign_id=send.campaign_id, send_ids=wanted, statuses=statuses, read_at=read_at
            )

        return self._rng.choice(
            (
                Step(f"resend {send.id}", resend_it),
                Step(f"resend {send.id}", resend_it),
                Step(f"resend those of {wanted} that are {statuses}", resend_all),
                Step(
                    f"{address} opts out",
                    lambda c: opt_outs.record_opt_out(
                        c, org_id=ORG, campaign_id=send.campaign_id, send_id=send.id, address=address
                    ),
                ),
                Step(f"suppress {address}", suppress),
            )
        )

    def _relay_step(self) -> Step:
        campaign_id = self._campaign_id()
        schedule = relay_pauses.ProbeSchedule(self._rng.choice((-_LONG, _LONG)), 4 * _LONG)
        rate = self._rng.choice((None, 2.0))
        return self._rng.choice(
            (
                Step(
                    "record a pause",
                    lambda c: relay_pauses.record_pause(c, campaign_id, message="No.", schedule=schedule),
                ),
                Step("lease the probe", lambda c: relay_pauses.lease_probe(c, seconds=_LONG)),
                Step("release the probe", relay_pauses.release_probe),
                Step("campaigns with due probes", lambda c: relay_pauses.campaigns_with_due_probe(c, limit=10)),
                Step(
                    "postpone the probe",
                    lambda c: relay_pauses.postpone_probe(c, campaign_id, message=None, schedule=schedule),
                ),
                Step(
                    "report a throttle",
                    lambda c: relay_pauses.report_throttle(c, [campaign_id], connections=1, rate=rate),
                ),
                Step("end a throttle", lambda c: relay_pauses.end_throttle(c, [campaign_id])),
            )
        )

    def _sweep_step(self) -> Step:
        campaign_id = self._campaign_id()
        window = self._rng.randint(1, 3)
        requeue_after = self._rng.choice((-1.0, _LONG))
        return self._rng.choice(
            (
                Step("settle expired leases", lambda c: expired_leases.settle_expired(c, campaign_id)),
                Step("gather due sends", lambda c: batches.gather_due(c, campaign_id, limit=1000)),
                Step("gather due sends", lambda c: batches.gather_due(c, campaign_id, limit=1000)),
                Step("campaigns with expired leases", batches.campaigns_with_expired_leases),
                Step("campaigns with due sends", batches.campaigns_with_due_sends),
                Step("active campaigns", _active),
                Step(
                    f"take {window} batches",
                    lambda c: batches.take_batches_to_enqueue(
                        c, campaign_id, window=window, requeue_after=requeue_after
                    ),
                ),
            )
        )


async def _active(connection: AsyncConnection) -> list[list[UUID]]:
    return list(await active_campaigns(connection))
