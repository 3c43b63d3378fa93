"""One mailbox in many spellings: the whole service sends it one mail, and an opt-out, a suppression or a hard bounce of

one spelling counts for all."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import idna
import pytest

from marketing_service.campaigns import preflight_requests, suppression_list
from marketing_service.campaigns.resend import resend
from marketing_service.campaigns.test_mails import left_out_of
from marketing_service.errors import WrongState
from marketing_service.ports import Audience, AudienceType, Contact
from marketing_service.preflight import count_audience
from marketing_service.store.audit import Actor
from marketing_service.tracking import Outcome, ReportHandler, opt_out
from tests.support.ledger import assert_adds_up, draft, send_rows
from tests.support.reports import ADDRESSES, KEYRING, UNKNOWN_USER, delivery_report
from tests.support.script import Step, answer
from tests.support.spellings import DOMAINS, spelling
from tests.support.world import World, open_world, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from marketing_service.db import Database

LEADS = Audience(AudienceType.BY_STATUS, ("LEAD",))
CUSTOMERS = Audience(AudienceType.BY_STATUS, ("CUSTOMER",))


def person(contact_id: str, email: str, status: str = "CUSTOMER") -> Contact:
    return Contact(contact_id, email, "Ada", "Love", "Acme", status, marketing_opt_out=False)


@asynccontextmanager
async def world_of(owner: Database, urls: tuple[str, str], contacts: Sequence[Contact]) -> AsyncIterator[World]:
    async with open_world(owner, *urls, contacts=contacts, bounce_domain=ADDRESSES.domain) as world, world.working():
        yield world


@pytest.fixture
def urls(database_url: str, redis_url: str) -> tuple[str, str]:
    return database_url, redis_url


async def sent(world: World, audience: Audience | None = None) -> tuple[UUID, Counter[str]]:
    """A campaign that is sent, and how many mails each mailbox got, by what the relay was given."""
    before = world.relay.recipients
    campaign_id = await world.launch(audience)
    await world.until_status(campaign_id, "SENT")
    await assert_adds_up(world.owner, campaign_id)
    mails = world.relay.recipients - before
    got: Counter[str] = Counter()
    for recipient, number in mails.items():
        local_part, _, domain = recipient.rpartition("@")
        assert recipient.isascii()
        got[f"{local_part}@{domain}".lower()] += number
    return campaign_id, got


async def checked(world: World) -> tuple[int, int, int, int]:
    """What a preflight says: how many contacts would be mailed, and how many are duplicates, opted out, suppressed."""
    campaign_id = await draft(world.owner, org_id=world.org_id, text_body="Hello")
    await preflight_requests.request(
        world.api.transactions,
        world.api.job_queue,
        world.api.campaign_rules,
        actor=Actor(world.org_id, "someone"),
        campaign_id=campaign_id,
    )

    async def done() -> bool:
        async with world.api.transactions(world.org_id) as tx:
            return (await preflight_requests.get(tx, world.org_id, campaign_id)).report is not None

    await until(done)
    async with world.api.transactions(world.org_id) as tx:
        report = (await preflight_requests.get(tx, world.org_id, campaign_id)).report
    assert report is not None
    assert report.malformed == 0
    return report.recipients, report.duplicates, report.opted_out, report.suppressed


async def opted_out_in_crm(world: World) -> set[str]:
    return {contact.id for contact in world.crm.book.fixed_contacts(world.org_id) if contact.marketing_opt_out}


async def until_no_opt_out_is_pending(world: World) -> None:
    async def written() -> bool:
        return (await world.api.stats()).opt_outs_pending == 0

    await until(written)


async def again(world: World, campaign_id: UUID, send: dict[str, Any]) -> None:
    await resend(
        world.api.transactions,
        world.api.audience,
        actor=Actor(world.org_id, "someone"),
        campaign_id=campaign_id,
        send_id=send["id"],
    )


@pytest.mark.parametrize("seed", range(3))
async def test_no_spelling_leads_to_a_second_mail_or_escapes_a_block(
    owner: Database, urls: tuple[str, str], seed: int
) -> None:
    chance = random.Random(seed)
    mailboxes = {f"info@{idna.encode(domain).decode()}": domain for domain in chance.sample(DOMAINS, 6)}
    written = [(key, spelling(chance, "info", domain)) for key, domain in mailboxes.items() for _ in range(4)]
    chance.shuffle(written)
    owner_of = {f"c{number:02}": key for number, (key, _) in enumerate(written)}
    contacts = [person(f"c{number:02}", email) for number, (_, email) in enumerate(written)]
    opted_out, suppressed, bounced, *others = mailboxes

    async with world_of(owner, urls, contacts) as world:
        first, mails = await sent(world)
        assert mails == Counter(list(mailboxes)), written
        sends = {send["contact_id"]: send for send in await send_rows(owner, first)}
        lowest = {key: min(one for one in sends if owner_of[one] == key) for key in mailboxes}
        assert {one for one, send in sends.items() if send["status"] == "DELIVERED"} == set(lowest.values())

        assert await opt_out(world.api.transactions, world.api.job_queue, sends[lowest[opted_out]]["id"])
        await suppression_list.add(
            world.api.transactions,
            actor=Actor(world.org_id, "someone"),
            email=spelling(chance, "info", mailboxes[suppressed]),
            note=None,
        )
        handler = ReportHandler(
            world.worker.transactions, world.worker.job_queue, tokens=KEYRING, addresses=ADDRESSES, soft_bounces=3
        )
        report = await handler.handle(ADDRESSES.of(sends[lowest[bounced]]["id"], 1), delivery_report(UNKNOWN_USER))
        assert report.outcome is Outcome.BOUNCED_HARD
        await until_no_opt_out_is_pending(world)
        assert await opted_out_in_crm(world) == {one for one, key in owner_of.items() if key == opted_out}

        recipients, duplicates, *_, on_the_list = await checked(world)
        assert (recipients, duplicates, on_the_list) == (3, 9, 8)
        _, mails = await sent(world)
        assert mails == Counter(others), written
        with pytest.raises(WrongState, match="suppression list"):
            await again(world, first, sends[lowest[bounced]])
        for key in (opted_out, suppressed, bounced):
            async with world.api.transactions(world.org_id) as tx:
                with pytest.raises(WrongState, match="every address"):
                    await left_out_of(tx, world.org_id, [spelling(chance, "info", mailboxes[key])])


async def test_an_opt_out_reaches_the_other_spellings_of_contacts_that_were_not_mailed(
    owner: Database, urls: tuple[str, str]
) -> None:
    contacts = [
        person("mailed", "info@xn--bcher-kva.example"),
        person("a-label", "Info@XN--BCHER-KVA.example", "LEAD"),
        person("u-label", "Info@bücher.Example", "LEAD"),
        person("nfd", "info@bu\u0308cher.example", "LEAD"),
        # This CRM ignores the case of all letters. Not every CRM does.
        person("upper", "INFO@BÜCHER.EXAMPLE", "LEAD"),
        person("other", "info@bucher.example", "LEAD"),
    ]
    async with world_of(owner, urls, contacts) as world:
        campaign_id, _ = await sent(world, CUSTOMERS)
        (send,) = (await world.sends(campaign_id)).values()
        assert await opt_out(world.api.transactions, world.api.job_queue, send["id"])
        await until_no_opt_out_is_pending(world)
        assert await opted_out_in_crm(world) == {"mailed", "a-label", "u-label", "nfd", "upper"}
        assert (await sent(world, LEADS))[1] == Counter(["info@bucher.example"])

        # Who clears the flag in the CRM subscribes the contact again.
        world.crm.book.set_opt_out(world.org_id, "upper", opted_out=False)
        assert (await sent(world, LEADS))[1] == Counter(["info@bucher.example", "info@xn--bcher-kva.example"])


async def test_an_opt_out_blocks_a_spelling_that_a_search_of_the_crm_cannot_find(
    owner: Database, urls: tuple[str, str]
) -> None:
    contacts = [
        person("1-full-width", "info@\uff42ücher.example", "LEAD"),
        person("2-other-dot", "info@bücher\u3002example", "LEAD"),
        person("3-mailed", "info@bücher.example"),
    ]
    async with world_of(owner, urls, contacts) as world:
        world.relay.on(Step.RCPT, answer(550, "5.7.1 Not today"), times=1)
        refused, _ = await sent(world, LEADS)
        (failed,) = [send for send in (await world.sends(refused)).values() if send["status"] == "FAILED"]
        campaign_id, mails = await sent(world, CUSTOMERS)
        assert mails == Counter(["info@xn--bcher-kva.example"])
        (send,) = (await world.sends(campaign_id)).values()
        assert await opt_out(world.api.transactions, world.api.job_queue, send["id"])
        await until_no_opt_out_is_pending(world)
        assert await opted_out_in_crm(world) == {"3-mailed"}

        assert await checked(world) == (0, 0, 3, 0)
        campaign_id, mails = await sent(world, LEADS)
        assert not mails
        assert {send["reason"] for send in (await world.sends(campaign_id)).values()} == {"OPTED_OUT"}
        with pytest.raises(WrongState, match="opted out"):
            await again(world, refused, failed)
        counted = await count_audience(world.api.transactions, world.api.audience, org_id=world.org_id, audience=LEADS)
        assert not counted.sample

        # The other one may be mailed again: it does not stay hidden behind those that may not.
        world.crm.book.set_opt_out(world.org_id, "3-mailed", opted_out=False)
        campaign_id, mails = await sent(world)
        assert mails == Counter(["info@xn--bcher-kva.example"])
        assert {send["contact_id"]: send["status"] for send in (await world.sends(campaign_id)).values()} == {
            "1-full-width": "SKIPPED",
            "2-other-dot": "SKIPPED",
            "3-mailed": "DELIVERED",
        }
