"""The lifecycle of a campaign in random steps: in any order of events the ledger adds up, a draft is launched once, and
a bulk resend accounts for each send."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from marketing_service.campaigns import bulk_resends, drafts
from marketing_service.campaigns.lifecycle import launch
from marketing_service.campaigns.schedule import schedule, unschedule
from marketing_service.db import Database
from marketing_service.errors import InvalidInput, WrongState
from marketing_service.ledger import commit_results, expansion, expired_leases, lifecycle, opt_outs, resend
from marketing_service.ledger.opens import Load, record_opens
from marketing_service.store import batches, expansions, resends
from marketing_service.store.states import FailReason, SendStatus
from tests.integration.ledger.lifecycle_parts import (
    ACTOR,
    NO_CRM,
    NO_QUEUE,
    OUTCOMES,
    PEOPLE,
    RESENDABLE,
    RULES,
    crm_says,
    launches_of,
)
from tests.support import ledger
from tests.support.ledger import (
    ORG,
    assert_adds_up,
    audit_moves,
    campaign_row,
    contact,
    draft,
    illegal_moves,
    send_rows,
)
from tests.support.steps import let_leases_run_out, mark

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from marketing_service.db import Transaction
    from marketing_service.devstack.postgres import PostgresServer
    from marketing_service.ports import Contact


has_sends = precondition(lambda self: self.row["expanded_at"] is not None)
"""Before that, an act on sends has nothing to do, and a run would seldom get to the others."""


class CampaignLifecycle(RuleBasedStateMachine):
    """One campaign, two workers that may be frozen and go on later, a user, and recipients."""

    postgres: PostgresServer
    template: str
    begins_as_draft = False

    def __init__(self) -> None:
        super().__init__()
        name = f"life_{uuid4().hex}"
        self.postgres.create_database(name, template=self.template)
        self.loop = asyncio.Runner()
        self.owner = Database(self.postgres.url(name), role=None, pool_size=2)
        self.claims: list[tuple[batches.Claim, list[batches.WaitingSend]]] = []
        self.marks: list[tuple[batches.Claim, commit_results.MarkedSend]] = []
        self.steps: list[tuple[resends.ClaimedResend, list[resends.Candidate], list[Contact | None], str | None]] = []
        self.people: list[expansions.StagedContact] = []
        self.row: dict[str, Any] = {}
        """The campaign's row before each rule."""
        self.run(audit_moves(self.owner))
        self.campaign_id: UUID = self.run(draft(self.owner))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run(work)

    def within(self, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        async def transaction() -> Any:
            async with self.owner.transaction() as tx:
                return await work(tx.connection)

        return self.run(transaction())

    def teardown(self) -> None:
        self.run(self.owner.close())
        self.loop.close()

    async def _in_tx(self, work: Callable[[Transaction], Coroutine[Any, Any, Any]]) -> Any:
        async with self.owner.transaction() as tx:
            return await work(tx)

    def attempt(self, work: Coroutine[Any, Any, Any], *, is_allowed: bool) -> Any:
        """An act of a user: it is refused exactly if the state of the campaign does not allow it."""
        try:
            found = self.run(work)
        except WrongState:
            assert not is_allowed
            return None
        assert is_allowed
        return found

    def read_row(self) -> dict[str, Any]:
        self.row = self.run(campaign_row(self.owner, self.campaign_id))
        return self.row

    @property
    def is_draft(self) -> bool:
        return bool(self.row["status"] == "DRAFT")

    # ── the draft ──

    @initialize(people=PEOPLE)
    def begin(self, people: list[tuple[int, int, bool]]) -> None:
        """One list of contacts."""
        self.people = [
            contact(number, email=f"a{address}@example.com", address=f"a{address}@example.com", deliverable=good)
            for number, address, good in people
        ]
        self.read_row()
        if self.begins_as_draft:
            self.schedule(80)
        else:
            self.launch()
            self.expand()

    @rule(minutes=st.sampled_from([1, 2, 80]))
    def schedule(self, minutes: int) -> None:
        at = datetime.now(UTC) + timedelta(minutes=minutes)
        work = self._in_tx(lambda tx: schedule(tx, ACTOR, self.campaign_id, at=at, zone=None))
        self.attempt(work, is_allowed=self.is_draft)

    @rule()
    def unschedule(self) -> None:
        work = self._in_tx(lambda tx: unschedule(tx, ACTOR, self.campaign_id))
        self.attempt(work, is_allowed=self.is_draft)

    @rule(body=st.sampled_from([None, "<p>Hello</p>", "<p>Hello again</p>"]))
    def edit(self, body: str | None) -> None:
        """Without a body, the draft cannot be launched."""
        changes = {"html_body": body}
        work = drafts.change(
            self.owner.transaction, NO_CRM, RULES, actor=ACTOR, campaign_id=self.campaign_id, changes=changes
        )
        self.attempt(work, is_allowed=self.is_draft)

    @precondition(lambda self: self.is_draft)
    @rule(minutes=st.sampled_from([5, 59, 70, -30]))
    def time_passes(self, minutes: int) -> None:
        """PostgreSQL's clock goes on, jumps ahead or jumps back."""

        async def work(connection: Any) -> None:
            statement = "UPDATE marketing_campaigns SET scheduled_at = scheduled_at - :minutes * interval '1 minute'"
            await connection.execute(text(statement), {"minutes": minutes})

        self.within(work)

    @rule()
    def launch_what_is_due(self) -> None:
        """Two workers at once."""
        before = self.row
        is_due = before["status"] == "DRAFT" and before["scheduled_at"] and before["scheduled_at"] <= datetime.now(UTC)

        async def both() -> None:
            await asyncio.gather(*(worker.run() for worker in workers))

        workers = [launches_of(self.owner) for _ in range(2)]
        self.run(both())
        assert sum(worker.outcomes.total() for worker in workers) == bool(is_due)

    @rule()
    def launch(self) -> None:
        work = launch(
            self.owner.transaction, NO_CRM, NO_QUEUE, RULES, mailer=None, actor=ACTOR, campaign_id=self.campaign_id
        )
        row = self.row
        if row["status"] == "DRAFT" and row["html_body"] is None:
            with pytest.raises(InvalidInput):
                self.run(work)
            return
        self.attempt(work, is_allowed=row["status"] == "DRAFT")

    @precondition(lambda self: self.row["status"] == "SENDING" and self.row["expanded_at"] is None)
    @rule()
    def expand(self) -> None:
        async def work(connection: Any) -> None:
            attempt = await expansions.claim_expansion(connection, self.campaign_id, lease=60)
            assert attempt
            assert await expansions.stage_contacts(connection, attempt, page=0, contacts=self.people, lease=60)
            assert await expansion.merge(connection, attempt)

        self.within(work)

    # ── the person ──

    @rule(reason=st.sampled_from(lifecycle.PauseReason))
    def pause(self, reason: lifecycle.PauseReason) -> None:
        self.within(lambda c: lifecycle.pause(c, self.campaign_id, reason))

    @rule()
    def resume(self) -> None:
        self.within(lambda c: lifecycle.resume(c, self.campaign_id))

    @precondition(lambda self: len(self.marks) > 2)
    @rule()
    def cancel(self) -> None:
        self.within(lambda c: ledger.cancel(c, self.campaign_id))

    @has_sends
    @rule(index=st.integers(0, 10))
    def resend(self, index: int) -> None:
        send = self._send(index)
        if send:
            self.within(
                lambda c: resend.requeue(c, campaign_id=self.campaign_id, send_id=send["id"], read_at=datetime.now(UTC))
            )

    @rule(
        statuses=st.sampled_from(RESENDABLE),
        reasons=st.sampled_from([(), (), (FailReason.REJECTED, FailReason.MALFORMED_ADDRESS)]),
    )
    def resend_many(self, statuses: tuple[SendStatus, ...], reasons: tuple[FailReason, ...]) -> None:
        async def is_unfinished(connection: Any) -> bool:
            return await resends.has_unfinished(connection, self.campaign_id)

        work = self._in_tx(
            lambda tx: bulk_resends.request(tx, ACTOR, self.campaign_id, statuses=statuses, reasons=reasons)
        )
        self.attempt(work, is_allowed=not self.is_draft and not self.within(is_unfinished))

    # ── the workers ──

    @has_sends
    @rule()
    def begin_resend_step(self) -> None:
        """A worker claims a step and asks the CRM. It may be frozen then, until its lease has expired."""

        async def work(connection: Any) -> None:
            claimed = await resends.claim_resend(connection, after=None, without=(), lease=60)
            if claimed is not None:
                found, after = await resends.candidates(connection, claimed, limit=2, window=3)
                asked = [crm_says(each.contact_id) for each in found]
                self.steps.append((claimed, found, asked, after))

        self.within(work)

    @precondition(lambda self: self.steps)
    @rule(index=st.integers(0, 10), is_postponed=st.sampled_from([False, False, False, True]))
    def end_resend_step(self, index: int, is_postponed: bool) -> None:
        """Any of the steps so far, also one that another worker has done meanwhile."""
        claimed, found, asked, after = self.steps[index % len(self.steps)]
        if is_postponed:
            found, asked, after = found[:1], asked[:1], found[0].contact_id if found else claimed.after_contact
        work = self._in_tx(
            lambda tx: bulk_resends._queue_again(tx, claimed, found, asked, after=after, is_postponed=is_postponed)
        )
        self.run(work)

    @has_sends
    @rule()
    def claim(self) -> None:
        async def work(connection: Any) -> None:
            found = await connection.execute(text("SELECT number FROM marketing_batches WHERE lease_until IS NULL"))
            for number in found.scalars().all():
                claimed = await batches.claim_batch(connection, self.campaign_id, number, lease=60)
                assert claimed
                self.claims.append(claimed)

        self.within(work)

    @precondition(lambda self: self.claims)
    @rule(index=st.integers(0, 10), limit=st.integers(1, 3))
    def mark(self, index: int, limit: int) -> None:
        held, waiting = self.claims[index % len(self.claims)]
        step = self.within(lambda _: mark(self.owner, held, *waiting[:limit]))
        self.marks += [(held, marked) for marked in step.marked.values()]

    @precondition(lambda self: self.marks)
    @rule(index=st.integers(0, 10), status=st.sampled_from(OUTCOMES), again=st.booleans())
    def record(self, index: int, status: SendStatus, again: bool) -> None:
        """Record a result from a worker that was frozen, and record it twice."""
        held, marked = self.marks[index % len(self.marks)]
        result = commit_results.SendResult(held, marked.send.id, marked.attempt, status, reason="X", delay=0.0)
        self.within(lambda c: commit_results.record(c, self.campaign_id, results=[result], resend_ambiguous=again))

    @precondition(lambda self: self.claims)
    @rule(index=st.integers(0, 10))
    def release(self, index: int) -> None:
        held, _ = self.claims[index % len(self.claims)]
        self.within(lambda c: batches.release_batch(c, held))

    @precondition(lambda self: self.claims)
    @rule(index=st.integers(0, 10))
    def go_on(self, index: int) -> None:
        """Record a result from a worker that was frozen; its batch was settled before."""
        held, _ = self.claims[index % len(self.claims)]
        following = self.within(lambda _: batches.next_batch(self.owner.call, held, lease=60))
        if following is not None:
            self.claims.append(following)

    @has_sends
    @rule()
    def die(self) -> None:
        self.run(let_leases_run_out(self.owner))

        async def work(connection: Any) -> None:
            past = "now() - interval '1 second'"
            await connection.execute(text(f"UPDATE marketing_resends SET lease_until = {past}, due_at = {past}"))

        self.within(work)

    @has_sends
    @rule()
    def sweep(self) -> None:
        self.within(lambda c: expired_leases.settle_expired(c, self.campaign_id))
        self.within(lambda c: batches.gather_due(c, self.campaign_id, limit=100))
        self.within(expansions.clean_staging)
        self.within(lambda c: lifecycle.resume_after_relay(c, self.campaign_id))

    # ── the recipients ──

    @has_sends
    @rule(index=st.integers(0, 10), by_machine=st.booleans())
    def open(self, index: int, *, by_machine: bool) -> None:
        send = self._send(index)
        if send:
            reason = "A_MACHINE" if by_machine else None
            self.run(record_opens(self.owner.call, [Load(send["id"], reason)], soon_seconds=0, soon_reason="SOON"))

    @has_sends
    @rule(index=st.integers(0, 10))
    def opt_out(self, index: int) -> None:
        send = self._send(index)
        if send:
            self.within(
                lambda c: opt_outs.record_opt_out(
                    c, org_id=ORG, campaign_id=self.campaign_id, send_id=send["id"], address=send["address"]
                )
            )

    def _send(self, index: int) -> dict[str, Any] | None:
        rows = self.run(send_rows(self.owner, self.campaign_id))
        return rows[index % len(rows)] if rows else None

    # ── what always holds ──

    @invariant()
    def the_ledger_adds_up(self) -> None:
        """The counters equal a count over the rows; SENT exactly if no send is unsettled; every move is in MOVES."""
        counters = self.run(assert_adds_up(self.owner, self.campaign_id))
        row = self.read_row()
        due = counters["queued"] + counters["sending"] + counters["deferred"]
        assert row["expanded_at"] is None or row["status"] == ("SENDING" if due else "SENT")
        assert self.run(illegal_moves(self.owner)) == set()
        self._a_draft_is_launched_once(row)
        self._bulk_resends_add_up()

    def _a_draft_is_launched_once(self, row: dict[str, Any]) -> None:
        """A schedule launches its draft, or stays, or leaves a problem. No later act launches it again."""

        async def launches(connection: Any) -> int:
            found = await connection.execute(text("SELECT count(*) FROM marketing_audit WHERE action = 'launched'"))
            return int(found.scalar_one())

        assert self.within(launches) == (row["status"] != "DRAFT")
        if row["status"] != "DRAFT":
            assert row["schedule_problem_code"] is None
            assert row["scheduled_at"] is None or row["launched_at"] >= row["scheduled_at"]
        assert row["scheduled_at"] is None or row["schedule_problem_code"] is None

    def _bulk_resends_add_up(self) -> None:
        """At the end, each send that matched is queued again or refused."""

        async def work(connection: Any) -> list[Any]:
            return list(await connection.execute(text("SELECT * FROM marketing_resends")))

        for found in self.within(work):
            if found.finished_at is not None:
                assert found.matching == found.accepted + sum(found.refused.values())
            assert all(count > 0 for count in found.refused.values())

    @invariant()
    def nothing_due_is_forgotten(self) -> None:
        """Every waiting send is in a batch that the sweep can enqueue, or has a moment when it is due. Every marked
        send is in a leased batch."""

        async def batches_now(connection: Any) -> dict[int, datetime | None]:
            found = await connection.execute(text("SELECT number, lease_until FROM marketing_batches"))
            return {batch.number: batch.lease_until for batch in found}

        held = self.within(batches_now)
        for row in self.run(send_rows(self.owner, self.campaign_id)):
            if row["status"] in ("QUEUED", "DEFERRED"):
                assert row["batch"] in held or row["due_at"] is not None
            elif row["status"] == "SENDING":
                assert held.get(row["batch"]) is not None


class DraftLifecycle(CampaignLifecycle):
    """The same, from a scheduled draft on."""

    begins_as_draft = True


@pytest.mark.parametrize(("machine", "examples"), [(CampaignLifecycle, 12), (DraftLifecycle, 10)])
def test_the_ledger_adds_up_in_any_order_of_events(
    postgres: PostgresServer, template: str, machine: type[CampaignLifecycle], examples: int
) -> None:
    machine.postgres, machine.template = postgres, template
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
