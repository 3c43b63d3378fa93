"""The behaviour that every source of contacts must have."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from marketing_service.addresses import mailbox_key
from marketing_service.ports import Audience, AudienceType, Contact, ContactStatus, LeftOut

if TYPE_CHECKING:
    from marketing_service.ports import AudienceSource
    from tests.integration.audience.conftest import SourceFactory

EVERYBODY = Audience()


def contact(number: int, **changes: object) -> Contact:
    base = Contact(
        id=f"c-{number:06}",
        email=f"person{number}@example.org",
        first_name="Zoë",
        last_name="O'Neil <b>",
        company_name='"Quote" & Söhne 😀',
        status="CUSTOMER",
        marketing_opt_out=False,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # the fields' own types, by name


def by_status(*statuses: str) -> Audience:
    return Audience(AudienceType.BY_STATUS, statuses)


async def everyone(source: AudienceSource, audience: Audience = EVERYBODY, org_id: str = "org") -> list[Contact]:
    return [found async for page in source.pages(org_id, audience) for found in page.contacts]


async def test_returns_every_contact_once_with_all_its_fields(make_source: SourceFactory) -> None:
    contacts = [contact(number) for number in range(250)]
    found = await everyone(await make_source({"org": contacts}))
    assert sorted(found, key=lambda one: one.id) == contacts


async def test_each_page_has_the_time_of_its_request(make_source: SourceFactory) -> None:
    source = await make_source({"org": [contact(number) for number in range(150)]})
    before = datetime.now(UTC)
    asked = [page.asked_at async for page in source.pages("org", EVERYBODY)]
    in_order = [before, *asked, datetime.now(UTC)]
    assert in_order == sorted(in_order)
    assert asked


async def test_excludes_contacts_that_opted_out_or_have_no_address(make_source: SourceFactory) -> None:
    contacts = [
        contact(1),
        contact(2, marketing_opt_out=True),
        contact(3, email=None),
        contact(4, email=""),
        contact(5, first_name=None, last_name=None, company_name=None, status=None),
    ]
    source = await make_source({"org": contacts})
    assert [found.id for found in await everyone(source)] == ["c-000001", "c-000005"]
    assert await source.count("org", EVERYBODY) == 2


async def test_counts_the_excluded_contacts_by_reason(make_source: SourceFactory) -> None:
    contacts = [
        contact(1),
        contact(2, marketing_opt_out=True),
        contact(3, marketing_opt_out=True, email=None),
        contact(4, email=None),
        contact(5, email=None, status="LEAD"),
    ]
    source = await make_source({"org": contacts})
    assert await source.left_out("org", EVERYBODY) == LeftOut(opted_out=2, without_address=2)
    assert await source.left_out("org", by_status("CUSTOMER")) == LeftOut(opted_out=2, without_address=1)
    assert await source.left_out("org", by_status()) == LeftOut(0, 0)


async def test_a_sample_contains_contacts_of_the_audience(make_source: SourceFactory) -> None:
    contacts = [contact(number, marketing_opt_out=number % 2 == 0) for number in range(40)]
    source = await make_source({"org": contacts})
    sample = await source.sample("org", EVERYBODY, limit=10)
    assert len(sample) == len({one.id for one in sample}) == 10
    assert all(one in contacts and not one.marketing_opt_out for one in sample)
    assert len(await source.sample("org", EVERYBODY, limit=1000)) == 20
    assert await source.sample("org", by_status("LEAD"), limit=10) == []


async def test_by_status_returns_contacts_with_any_of_the_statuses(make_source: SourceFactory) -> None:
    statuses = ["LEAD", "CUSTOMER", "VIP & Söhne", None]
    source = await make_source({"org": [contact(number, status=statuses[number % 4]) for number in range(40)]})
    audience = by_status("LEAD", "VIP & Söhne")
    assert {found.status for found in await everyone(source, audience)} == {"LEAD", "VIP & Söhne"}
    assert await source.count("org", audience) == 20
    assert await source.count("org", by_status("lead")) == 0


async def test_by_status_without_a_status_is_empty(make_source: SourceFactory) -> None:
    source = await make_source({"org": [contact(1)]})
    assert await everyone(source, by_status()) == []
    assert await source.count("org", by_status()) == 0


async def test_an_organisation_without_contacts_is_empty(make_source: SourceFactory) -> None:
    source = await make_source({"org": []})
    assert await everyone(source) == []
    assert await source.count("org", EVERYBODY) == 0


async def test_organisations_are_separate(make_source: SourceFactory) -> None:
    source = await make_source({"org": [contact(1)], "a b?#%41": [contact(2)]})
    assert [found.id for found in await everyone(source, org_id="a b?#%41")] == ["c-000002"]
    assert await source.contact("org", "c-000002") is None
    assert await source.contacts_with_email("org", mailbox_key("person2@example.org")) == []
    assert not await source.opt_out("org", "c-000002")
    assert await source.count("a b?#%41", EVERYBODY) == 1


@pytest.mark.parametrize("contact_id", ["c-1", "a..b", "...", "a b?c#d", "%2e%2E", "é😀", "+&=;", "x" * 64, "~\\\"'"])
async def test_ids_are_opaque(make_source: SourceFactory, contact_id: str) -> None:
    source = await make_source({"org": [contact(1, id=contact_id), contact(2)]})
    assert await source.contact("org", contact_id) == contact(1, id=contact_id)
    assert await source.opt_out("org", contact_id)
    assert [found.id for found in await everyone(source)] == ["c-000002"]


@pytest.mark.parametrize("contact_id", ["", "nobody", "\x00", "\ud800", "x" * 5000])
async def test_no_such_contact_is_none(make_source: SourceFactory, contact_id: str) -> None:
    source = await make_source({"org": [contact(1)]})
    assert await source.contact("org", contact_id) is None


async def test_finds_all_contacts_with_an_address_even_if_opted_out(make_source: SourceFactory) -> None:
    source = await make_source(
        {
            "org": [
                contact(1, email="Jane+x@Example.org"),
                contact(2, email="jane+x@example.org", marketing_opt_out=True),
                contact(3, email="janet+x@example.org"),
                contact(4, email=None),
            ]
        }
    )
    found = await source.contacts_with_email("org", mailbox_key("jane+x@example.org"))
    assert [one.id for one in found] == ["c-000001", "c-000002"]
    assert await source.contacts_with_email("org", mailbox_key("nobody@example.org")) == []


async def test_finds_more_contacts_with_one_address_than_a_page_has(make_source: SourceFactory) -> None:
    source = await make_source({"org": [contact(number, email="info@example.org") for number in range(230)]})
    assert len(await source.contacts_with_email("org", mailbox_key("info@example.org"))) == 230


async def test_an_opt_out_is_stored_and_can_be_repeated(make_source: SourceFactory) -> None:
    source = await make_source({"org": [contact(1), contact(2)]})
    assert await source.opt_out("org", "c-000001")
    assert await source.opt_out("org", "c-000001")
    assert not await source.opt_out("org", "nobody")
    assert [found.id for found in await everyone(source)] == ["c-000002"]
    found = await source.contact("org", "c-000001")
    assert found is not None
    assert found.marketing_opt_out


async def test_statuses_are_in_the_order_of_the_crm(make_source: SourceFactory) -> None:
    statuses = [
        ContactStatus("LEAD", "Lead"),
        ContactStatus("PROSPECT", "Prospect"),
        ContactStatus("CUSTOMER", "Customer"),
        ContactStatus("CHURNED", "Churned"),
    ]
    source = await make_source({"org": []}, statuses)
    assert await source.statuses("org") == statuses


async def test_finds_the_contacts_of_a_mailbox_in_each_usual_spelling(make_source: SourceFactory) -> None:
    source = await make_source(
        {
            "org": [
                contact(1, email="info@bücher.example"),
                contact(2, email="INFO@XN--BCHER-KVA.example", marketing_opt_out=True),
                contact(3, email="Info@bu\u0308cher.Example"),
                contact(4, email="info@bucher.example"),
                contact(5, email="info@xn--bcher-kva.bücher.example"),
            ]
        }
    )
    for spelling in ("info@bücher.example", "info@xn--bcher-kva.example", "info@BU\u0308CHER.example"):
        found = await source.contacts_with_email("org", mailbox_key(spelling))
        assert [one.id for one in found] == ["c-000001", "c-000002", "c-000003"]
