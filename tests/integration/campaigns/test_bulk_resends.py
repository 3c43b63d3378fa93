"""Bulk resends: each send that matches is queued again once, or refused with a reason, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from marketing_service.addresses import MailboxKey
from marketing_service.campaigns import bulk_resends
from marketing_service.campaigns.bulk_resends import BulkResender
from marketing_service.errors import NotFound, WrongState
from marketing_service.ledger import lifecycle, opt_outs, resend
from marketing_service.ports import AudienceRefused, AudienceUnavailable, Contact
from marketing_service.store.audit import Actor
from marketing_service.store.states import FailReason, SendStatus
from tests.support.ledger import ORG, assert_adds_up, campaign_row, cancel, contact, draft, launched, send_rows
from tests.support.steps import settle_as
from tests.support.world import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from marketing_service.db import Database
    from marketing_service.store import resends
    from marketing_service.store.resends import BulkResend
    from tests.support.world import World

ACTOR = Actor(ORG, "ada")
BOTH = (SendStatus.FAILED, SendStatus.UNCONFIRMED)
FAILED = (SendStatus.FAILED,)


@dataclass
class Contacts:
    """The contacts of a CRM that says what a test wants. `before` is called with the number of each request."""

    opted_out: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    before: Callable[[int], Awaitable[None]] | None = None

    async def contact(self, _org_id: str, contact_id: str) -> Contact | None:
        self.requests.append(contact_id)
        if self.before is not None:
            await self.before(len(self.requests))
        if contact_id in self.deleted:
            return None
        email = f"person{int(contact_id[1:])}@example.com"
        return Contact(contact_id, email, None, None, None, "LEAD", contact_id in self.opted_out)


@pytest.fixture
def crm() -> Contacts:
    return Contacts()


@pytest.fixture
def resender(owner: Database, crm: Contacts) -> BulkResender:
    return BulkResender(owner.transaction, crm, lease=60)  # type: ignore[arg-type]  # only `contact` is used


async def requested(
    owner: Database, campaign_id: UUID, statuses: Any = BOTH, reasons: Any = (), actor: Actor = ACTOR
) -> BulkResend:
    async with owner.transaction() as tx:
        return await bulk_resends.request(tx, actor, campaign_id, statuses=statuses, reasons=reasons)


async def found(owner: Database, campaign_id: UUID, resend_id: UUID) -> BulkResend:
    async with owner.transaction() as tx:
        return await bulk_resends.get(tx, ORG, campaign_id, resend_id)


async def by_contact(owner: Database, campaign_id: UUID) -> dict[str, str]:
    return {row["contact_id"]: row["status"] for row in await send_rows(owner, campaign_id)}


async def execute(owner: Database, sql: str, **values: Any) -> None:
    async with owner.transaction() as tx:
        await tx.connection.execute(text(sql), values)


async def test_each_send_is_queued_again_or_refused_with_a_reason(
    owner: Database, crm: Contacts, resender: BulkResender
) -> None:
    campaign_id = await launched(owner, 8)
    await settle_as(owner, campaign_id, "CASE WHEN contact_id = 'c000000' THEN 'UNCONFIRMED' ELSE 'FAILED' END")
    crm.opted_out, crm.deleted = {"c000001"}, {"c000002"}
    await execute(
        owner,
        "INSERT INTO marketing_suppressions (org_id, address, reason, origin) VALUES (:o, :a, 'MANUAL', 'API')",
        o=ORG, a="person3@example.com",
    )  # fmt: skip
    await execute(
        owner,
        "INSERT INTO marketing_opt_outs (org_id, address, contact_ids, due_at) VALUES (:o, :a, '{}', now())",
        o=ORG, a="person4@example.com",
    )  # fmt: skip
    added = await requested(owner, campaign_id)
    assert (added.matching, added.finished_at) == (8, None)
    await resender.run()
    done = await found(owner, campaign_id, added.id)
    assert (done.matching, done.accepted) == (8, 4)
    assert done.refused == {"OPTED_OUT": 2, "NOT_IN_CRM": 1, "SUPPRESSED": 1}
    assert done.finished_at is not None
    queued = {name for name, status in (await by_contact(owner, campaign_id)).items() if status == "QUEUED"}
    assert queued == {"c000000", "c000005", "c000006", "c000007"}
    row = await campaign_row(owner, campaign_id)
    assert (row["status"], row["queued"]) == ("SENDING", 4)
    await assert_adds_up(owner, campaign_id)
    assert all(send["consent_read_at"] is not None for send in await send_rows(owner, campaign_id) if send["due_at"])
    async with owner.transaction() as tx:
        rows = await tx.connection.execute(text("SELECT actor, action, details FROM marketing_audit ORDER BY id"))
        assert [tuple(entry) for entry in rows] == [
            (
                "ada",
                "resent",
                {"resendId": str(added.id), "status": ["FAILED", "UNCONFIRMED"], "reason": [], "matching": 8},
            ),
            (
                "system",
                "resend-finished",
                {"resendId": str(added.id), "accepted": 4, "refused": dict(done.refused)},
            ),
        ]


@pytest.mark.parametrize(
    ("statuses", "reasons", "matching"),
    [
        (FAILED, (), {0, 1, 2}),
        (FAILED, (FailReason.REJECTED,), {0, 1}),
        (FAILED, (FailReason.BOUNCED_HARD, FailReason.BOUNCED_SOFT), {2}),
        ((SendStatus.UNCONFIRMED,), (), {3}),
        (BOTH, (), {0, 1, 2, 3}),
        (BOTH, (FailReason.REJECTED,), {0, 1}),
        (BOTH, (FailReason.DEFERRED_TOO_OFTEN,), set()),
    ],
)
async def test_only_the_wanted_states_and_reasons_match(
    owner: Database, resender: BulkResender, statuses: Any, reasons: Any, matching: set[int]
) -> None:
    campaign_id = await launched(owner, 5)
    await settle_as(
        owner,
        campaign_id,
        "CASE contact_id WHEN 'c000003' THEN 'UNCONFIRMED' WHEN 'c000004' THEN 'DELIVERED' ELSE 'FAILED' END",
        "CASE contact_id WHEN 'c000002' THEN 'BOUNCED_HARD' ELSE 'REJECTED' END",
    )
    before = await by_contact(owner, campaign_id)
    added = await requested(owner, campaign_id, statuses, reasons)
    assert added.matching == len(matching)
    assert (added.finished_at is not None) == (not matching)
    await resender.run()
    done = await found(owner, campaign_id, added.id)
    assert (done.accepted, done.refused) == (len(matching), {})
    assert done.finished_at is not None
    queued = {f"c{number:06}": "QUEUED" for number in matching}
    assert await by_contact(owner, campaign_id) == before | queued
    await assert_adds_up(owner, campaign_id)


async def test_a_resend_is_done_in_steps_by_several_workers(
    owner: Database, crm: Contacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most sends do not match, so that windows end before a step is full."""
    monkeypatch.setattr(bulk_resends, "STEP", 4)
    monkeypatch.setattr(bulk_resends, "WINDOW", 7)
    campaign_id = await launched(owner, 60)
    await settle_as(
        owner,
        campaign_id,
        "CASE WHEN contact_id LIKE '%3' OR contact_id < 'c000012' THEN 'FAILED' ELSE 'DELIVERED' END",
    )
    added = await requested(owner, campaign_id)
    workers = [BulkResender(owner.transaction, crm, lease=60) for _ in range(3)]  # type: ignore[arg-type]
    await asyncio.gather(*(worker.run() for worker in workers))
    await workers[0].run()  # what others had when this worker looked
    done = await found(owner, campaign_id, added.id)
    assert (done.matching, done.accepted, done.refused) == (17, 17, {})
    assert sorted(crm.requests) == sorted(set(crm.requests)), "no contact is asked for twice"
    assert (await campaign_row(owner, campaign_id))["queued"] == 17
    await assert_adds_up(owner, campaign_id)


async def test_a_step_of_a_worker_that_is_gone_is_done_by_another_one_and_its_late_commit_counts_nothing(
    owner: Database, crm: Contacts, resender: BulkResender
) -> None:
    campaign_id = await launched(owner, 5)
    await settle_as(owner, campaign_id, "'FAILED'")
    added = await requested(owner, campaign_id)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def freeze(number: int) -> None:
        if number <= 5:
            asked.set()
            await go_on.wait()

    crm.before = freeze
    frozen = asyncio.create_task(resender.run())
    await asked.wait()
    other = BulkResender(owner.transaction, crm, lease=60)  # type: ignore[arg-type]
    await other.run()
    assert (await found(owner, campaign_id, added.id)).accepted == 0, "the lease of the frozen worker has not expired"
    await execute(owner, "UPDATE marketing_resends SET lease_until = now() - interval '1 second'")
    await other.run()
    done = await found(owner, campaign_id, added.id)
    assert (done.accepted, done.finished_at is None) == (5, False)
    go_on.set()
    await frozen
    assert await found(owner, campaign_id, added.id) == done
    await assert_adds_up(owner, campaign_id)


async def test_an_opt_out_while_the_crm_is_asked_wins(owner: Database, crm: Contacts, resender: BulkResender) -> None:
    """The CRM said before that the contact may be mailed."""
    campaign_id = await launched(owner, 3)
    await settle_as(owner, campaign_id, "'FAILED'")
    sends = {row["contact_id"]: row["id"] for row in await send_rows(owner, campaign_id)}

    async def opt_out(number: int) -> None:
        if number == 3:
            async with owner.transaction() as tx:
                await opt_outs.record_opt_out(
                    tx.connection,
                    org_id=ORG,
                    campaign_id=campaign_id,
                    send_id=sends["c000001"],
                    address=MailboxKey("person1@example.com"),
                )

    crm.before = opt_out
    added = await requested(owner, campaign_id)
    await resender.run()
    done = await found(owner, campaign_id, added.id)
    assert (done.accepted, done.refused) == (2, {"OPTED_OUT": 1})
    assert (await by_contact(owner, campaign_id))["c000001"] == "FAILED"


async def test_sends_that_fail_after_the_request_match_too(
    owner: Database, resender: BulkResender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a campaign that is still being sent. `matching` is at no moment less than what was done."""
    monkeypatch.setattr(bulk_resends, "STEP", 2)
    campaign_id = await launched(owner, 4)
    await settle_as(owner, campaign_id, "CASE WHEN contact_id = 'c000000' THEN 'FAILED' ELSE 'QUEUED' END")
    added = await requested(owner, campaign_id)
    assert added.matching == 1
    await settle_as(owner, campaign_id, "'FAILED'")
    progress = []
    step = BulkResender._do_step

    async def look(self: BulkResender, claimed: resends.ClaimedResend) -> None:
        await step(self, claimed)
        done = await found(owner, campaign_id, added.id)
        progress.append((done.matching, done.accepted))

    monkeypatch.setattr(BulkResender, "_do_step", look)
    await resender.run()
    assert progress == [(2, 2), (4, 4), (4, 4)]


async def test_a_send_that_changes_meanwhile_is_not_queued_twice(
    owner: Database, crm: Contacts, resender: BulkResender
) -> None:
    campaign_id = await launched(owner, 3)
    await settle_as(owner, campaign_id, "'UNCONFIRMED'")
    rows = await send_rows(owner, campaign_id)

    async def change(number: int) -> None:
        if number == 3:
            async with owner.transaction() as tx:
                read_at = rows[0]["queued_at"]
                await resend.requeue(tx.connection, campaign_id=campaign_id, send_id=rows[0]["id"], read_at=read_at)

    crm.before = change
    added = await requested(owner, campaign_id)
    await resender.run()
    done = await found(owner, campaign_id, added.id)
    assert (done.matching, done.accepted, done.refused) == (3, 2, {"CHANGED": 1})
    await assert_adds_up(owner, campaign_id)


@pytest.mark.parametrize("error", [AudienceUnavailable("The CRM is down."), AudienceRefused("No such token.")])
async def test_while_the_crm_does_not_answer_nothing_is_refused_and_what_it_said_is_kept(
    owner: Database, crm: Contacts, resender: BulkResender, error: Exception
) -> None:
    campaign_id = await launched(owner, 20)
    await settle_as(owner, campaign_id, "'FAILED'")
    added = await requested(owner, campaign_id)

    async def fail(number: int) -> None:
        if number >= 18:
            raise error

    crm.before = fail
    await resender.run()
    halfway = await found(owner, campaign_id, added.id)
    assert (halfway.accepted, halfway.refused, halfway.finished_at) == (17, {}, None)
    crm.before = None
    await resender.run()
    assert await found(owner, campaign_id, added.id) == halfway, "it waits before it asks again"
    await execute(owner, "UPDATE marketing_resends SET due_at = now()")
    await resender.run()
    assert (await found(owner, campaign_id, added.id)).accepted == 20
    await assert_adds_up(owner, campaign_id)


async def test_the_waits_for_the_crm_grow(owner: Database, crm: Contacts, resender: BulkResender) -> None:
    campaign_id = await launched(owner, 1)
    await settle_as(owner, campaign_id, "'FAILED'")
    await requested(owner, campaign_id)

    async def fail(_: int) -> None:
        raise AudienceUnavailable("The CRM is down.")

    crm.before = fail
    waits = []
    for _ in range(8):
        await resender.run()
        async with owner.transaction() as tx:
            sql = "UPDATE marketing_resends SET due_at = now() RETURNING extract(epoch FROM old.due_at - now()) AS wait"
            waits.append(round((await tx.connection.execute(text(sql))).scalar_one()))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_a_slow_crm_ends_a_step_before_its_lease(
    owner: Database, crm: Contacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_resends, "_CONCURRENT", 2)
    campaign_id = await launched(owner, 6)
    await settle_as(owner, campaign_id, "'FAILED'")
    added = await requested(owner, campaign_id)
    resender = BulkResender(owner.transaction, crm, lease=0.0)  # type: ignore[arg-type]  # each step has no time at all
    accepted = []

    async def look(number: int) -> None:
        if number % 2:
            accepted.append((await found(owner, campaign_id, added.id)).accepted)

    crm.before = look
    await resender.run()
    assert accepted == [0, 2, 4]
    assert (await found(owner, campaign_id, added.id)).accepted == 6


async def test_one_request_at_a_time(owner: Database, resender: BulkResender) -> None:
    campaign_id = await launched(owner, 2)
    await settle_as(owner, campaign_id, "'FAILED'")
    results = await asyncio.gather(*(requested(owner, campaign_id) for _ in range(3)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["BulkResend", "WrongState", "WrongState"]
    await resender.run()
    await settle_as(owner, campaign_id, "'FAILED'")
    assert (await requested(owner, campaign_id)).matching == 2


async def test_a_cancel_ends_what_was_requested_before_it(
    owner: Database, crm: Contacts, resender: BulkResender
) -> None:
    campaign_id = await launched(owner, 5)
    await settle_as(owner, campaign_id, "CASE WHEN contact_id = 'c000000' THEN 'QUEUED' ELSE 'FAILED' END")
    added = await requested(owner, campaign_id)

    async def cancel_it(number: int) -> None:
        if number == 3:
            async with owner.transaction() as tx:
                assert await cancel(tx.connection, campaign_id)

    crm.before = cancel_it
    await resender.run()
    done = await found(owner, campaign_id, added.id)
    assert (done.accepted, done.refused) == (0, {"CANCELLED": 4})
    assert (await campaign_row(owner, campaign_id))["status"] == "SENT"
    # What is requested after the cancel is wanted, as it is for one send.
    again = await requested(owner, campaign_id)
    crm.before = None
    await resender.run()
    assert (await found(owner, campaign_id, again.id)).accepted == 4
    await assert_adds_up(owner, campaign_id)


async def test_a_paused_campaign_queues_and_marks_nothing(owner: Database, resender: BulkResender) -> None:
    campaign_id = await launched(owner, 3)
    await settle_as(owner, campaign_id, "CASE WHEN contact_id = 'c000000' THEN 'QUEUED' ELSE 'FAILED' END")
    async with owner.transaction() as tx:
        assert await lifecycle.pause(tx.connection, campaign_id, lifecycle.PauseReason.USER)
    added = await requested(owner, campaign_id)
    await resender.run()
    assert (await found(owner, campaign_id, added.id)).accepted == 2
    row = await campaign_row(owner, campaign_id)
    assert (row["queued"], row["pause_reason"]) == (3, "USER")


async def test_a_campaign_without_sends_has_nothing_to_send_again(owner: Database) -> None:
    unlaunched = await draft(owner)
    with pytest.raises(WrongState, match="DRAFT"):
        await requested(owner, unlaunched)
    campaign_id = await launched(owner, 1)
    with pytest.raises(NotFound):
        await requested(owner, campaign_id, actor=Actor("zenith", "eve"))
    added = await requested(owner, campaign_id)
    with pytest.raises(NotFound):
        await found(owner, unlaunched, added.id)
    assert (added.matching, added.finished_at is None) == (0, False)


async def test_an_error_of_one_request_does_not_stop_the_others(
    owner: Database, resender: BulkResender, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaigns = [await launched(owner, 2) for _ in range(3)]
    added = []
    for campaign_id in campaigns:
        await settle_as(owner, campaign_id, "'FAILED'")
        added.append(await requested(owner, campaign_id))
    original = BulkResender._do_step

    async def fails(self: BulkResender, claimed: resends.ClaimedResend) -> None:
        if claimed.id == added[0].id:
            raise RuntimeError("an error of the service")
        await original(self, claimed)

    monkeypatch.setattr(BulkResender, "_do_step", fails)
    await resender.run()
    accepted = [(await found(owner, one, two.id)).accepted for one, two in zip(campaigns, added, strict=True)]
    assert accepted == [0, 2, 2]


async def test_a_worker_sends_the_messages_again(world: World) -> None:
    """With the CRM of the development, over HTTP."""
    people = [
        contact(0, contact_id="contact-0000000", email="ada.lovelace@example.com", address="ada.lovelace@example.com"),
        contact(1, contact_id="contact-0000009", email="oscar.optout@example.com", address="oscar.optout@example.com"),
        contact(2, contact_id="contact-9999999", email="gone@example.com", address="gone@example.com"),
    ]
    campaign_id = await launched(world.owner, people, org_id=world.org_id)
    await settle_as(world.owner, campaign_id, "'FAILED'")
    async with world.api.transactions(world.org_id) as tx:
        actor = Actor(world.org_id, "ada")
        added = await bulk_resends.request(tx, actor, campaign_id, statuses=FAILED, reasons=())
    async with world.working():

        async def delivered() -> bool:
            return bool((await campaign_row(world.owner, campaign_id))["delivered"] == 1)

        await until(delivered)
    done = await found(world.owner, campaign_id, added.id)
    assert (done.accepted, done.refused) == (1, {"OPTED_OUT": 1, "NOT_IN_CRM": 1})
    assert world.relay.recipients == {"ada.lovelace@example.com": 1}
