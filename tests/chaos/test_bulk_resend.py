"""Many failed sends are requested again. Workers are killed in the middle of it, and recipients opt out meanwhile."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.addresses import MailboxKey
from marketing_service.campaigns import bulk_resends
from marketing_service.ledger.opt_outs import record_opt_out
from marketing_service.ports import Contact
from marketing_service.store.audit import Actor
from marketing_service.store.states import FailReason, SendStatus
from tests.support.crm_server import TOKEN, CrmServer, Reply, Request, as_json, found, problem
from tests.support.ledger import ORG, contact, launched
from tests.support.relay import Relay
from tests.support.steps import settle_as
from tests.support.workers import worker_environment, worker_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from uuid import UUID

    from marketing_service.db import Database
    from marketing_service.store.resends import BulkResend
    from tests.chaos.scenario import Scenario


class ManyContacts(CrmServer):
    """Finds a contact by its id at once. The contacts whose number ends with 7 have opted out."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def _reply(self, request: Request) -> Reply:
        contact_id = request.path.rpartition("/")[2]
        if not contact_id.startswith("c0") or request.method != "GET":
            return problem(404, "No such contact.")
        self.asked += 1
        email = f"person{int(contact_id[1:])}@example.com"
        return found(as_json(Contact(contact_id, email, None, None, None, "LEAD", contact_id.endswith("7"))))


async def test_each_send_is_sent_again_once_although_workers_are_killed(
    begin: Callable[[str], Scenario], owner: Database, database_url: str, redis_url: str, tmp_path: Path, full: bool
) -> None:
    scenario = begin("bulk resend")
    recipients, kills = (100_000, 5) if full else (2_500, 1)
    campaign_id = await launched(owner, [contact(number) for number in range(recipients)])
    await settle_as(owner, campaign_id, "'FAILED'")
    opted_out = {number: await _send_id(owner, campaign_id, number) for number in (1, recipients // 2, recipients - 5)}
    async with ManyContacts() as crm, Relay() as relay:
        environment = worker_environment(
            database_url=database_url,
            redis_url=redis_url,
            smtp_url=relay.url,
            crm_url=crm.url,
            crm_token=TOKEN,
            sweep_seconds="0.2",
            lease_seconds="2",
        )
        async with owner.transaction() as tx:
            added = await bulk_resends.request(
                tx, Actor(ORG, "ada"), campaign_id, statuses=(SendStatus.FAILED,), reasons=(FailReason.REJECTED,)
            )
        assert added.matching == recipients
        async with worker_process(environment, tmp_path / "worker.log") as worker:

            async def done() -> bool:
                # In the middle of a step: the contacts of the step are not all asked for.
                if scenario.faults < kills and crm.asked >= (scenario.faults + 1) * recipients // (kills + 1):
                    worker.signal(signal.SIGKILL)
                    assert await worker.wait() == -signal.SIGKILL
                    scenario.faults += 1
                    for number, send_id in opted_out.items():
                        await _opt_out(owner, campaign_id, send_id, number)
                    await worker.start()
                return (await _progress(owner, campaign_id, added.id)).finished_at is not None

            await scenario.until(done, relay, seconds=60 + recipients // 20)
            await scenario.until_sent(owner, campaign_id, relay, seconds=120 + recipients // 50)
            worker.signal(signal.SIGTERM)
            assert await worker.wait() == 0
        progress = await _progress(owner, campaign_id, added.id)
        assert scenario.faults == kills
        assert progress.matching == recipients == progress.accepted + sum(progress.refused.values())
        assert set(progress.refused) == {"OPTED_OUT"}
        reconciled = await scenario.reconciled(owner, campaign_id, relay)
    assert reconciled.duplicates == 0
    states = {row["contact_id"]: row["status"] for row in reconciled.rows}
    asked_for_no_mail = {f"c{number:06}" for number in opted_out} | {each for each in states if each.endswith("7")}
    for contact_id, status in states.items():
        may_be = {"FAILED", "SKIPPED"} if contact_id in asked_for_no_mail else {"DELIVERED", "UNCONFIRMED"}
        if status == "DELIVERED" and contact_id in {f"c{number:06}" for number in opted_out}:
            continue  # it was sent again before the opt-out
        assert status in may_be, contact_id
    assert sum(status == "UNCONFIRMED" for status in states.values()) <= 2 * 10 * kills


async def _send_id(owner: Database, campaign_id: UUID, number: int) -> UUID:
    async with owner.transaction() as tx:
        statement = text("SELECT id FROM marketing_sends WHERE campaign_id = :id AND contact_id = :contact")
        key = {"id": campaign_id, "contact": f"c{number:06}"}
        send_id: UUID = (await tx.connection.execute(statement, key)).scalar_one()
    return send_id


async def _opt_out(owner: Database, campaign_id: UUID, send_id: UUID, number: int) -> None:
    async with owner.transaction() as tx:
        address = MailboxKey(f"person{number}@example.com")
        await record_opt_out(tx.connection, org_id=ORG, campaign_id=campaign_id, send_id=send_id, address=address)


async def _progress(owner: Database, campaign_id: UUID, resend_id: UUID) -> BulkResend:
    async with owner.transaction() as tx:
        return await bulk_resends.get(tx, ORG, campaign_id, resend_id)
