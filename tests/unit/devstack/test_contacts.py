import itertools
from pathlib import Path

import pytest

from marketing_service.devstack.contacts import (
    CAST,
    ORG_ID,
    OTHER_ORG_ID,
    STATUSES,
    ContactBook,
    Filters,
    Roster,
)
from marketing_service.ports import Contact

ELIGIBLE = Filters(has_email=True, opted_out=False)


def everybody(book: ContactBook, filters: Filters, limit: int = 1000) -> list[Contact]:
    found: list[Contact] = []
    start: int | None = 0
    while start is not None:
        page, start = book.page(ORG_ID, filters, start, limit)
        assert len(page) <= limit
        found += page
    return found


def test_the_cast_has_every_case_a_campaign_must_cope_with() -> None:
    customers = [contact for contact in CAST if contact.status == "CUSTOMER"]
    addresses = [contact.email for contact in customers if contact.email]
    assert {contact.status for contact in CAST} == {status.value for status in STATUSES}
    assert {"reject-550@example.com", "defer-451@example.com", "drop@example.com"} <= set(addresses)
    assert len(addresses) == len(set(addresses)) + 1
    assert any(contact.marketing_opt_out for contact in customers)
    assert any(contact.email is None for contact in customers)
    names = " ".join(f"{contact.first_name} {contact.last_name}" for contact in customers)
    assert all(trap in names for trap in ("ë", '"', "'", "<b>"))


def test_contacts_are_the_same_every_time_and_a_larger_book_begins_with_a_smaller_one() -> None:
    small, large = everybody(ContactBook.of_size(100), Filters()), everybody(ContactBook.of_size(200), Filters())
    assert len(small) == 100
    assert large[:100] == small
    assert [contact.id for contact in large] == sorted(contact.id for contact in large)
    assert len({contact.id for contact in large}) == 200


@pytest.mark.parametrize("size", [0, 3, len(CAST)])
def test_a_book_can_be_smaller_than_the_cast(size: int) -> None:
    assert everybody(ContactBook.of_size(size), Filters()) == list(CAST[:size])


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_pages_of_any_size_give_every_match_once_and_as_many_as_counted(limit: int) -> None:
    book = ContactBook.of_size(300)
    for has_email, opted_out, statuses in itertools.product(
        (None, True, False), (None, True, False), ((), ("LEAD",), ("CUSTOMER", "CHURNED"))
    ):
        filters = Filters(has_email, opted_out, frozenset(statuses))
        expected = [
            contact
            for contact in everybody(book, Filters())
            if has_email in (None, contact.email is not None)
            and opted_out in (None, contact.marketing_opt_out)
            and (not statuses or contact.status in statuses)
        ]
        assert everybody(book, filters, limit) == expected
        assert book.count(ORG_ID, filters) == len(expected)


def test_each_contact_is_found_by_its_address_in_any_case_and_by_its_id() -> None:
    book = ContactBook.of_size(100)
    for contact in everybody(book, Filters(has_email=True)):
        assert contact in everybody(book, Filters(email=str(contact.email).upper()))
        assert book.get(ORG_ID, contact.id) == contact
    assert len(everybody(book, Filters(email="family@example.com"))) == 2
    assert everybody(book, Filters(email="ines.bianchi.99@example.com")) == []
    assert book.get(ORG_ID, "contact-0000100") is None
    assert book.get(ORG_ID, "somebody") is None


def test_a_page_of_a_million_contacts_makes_only_that_page(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    at = Roster.__getitem__

    def counting(roster: Roster, number: int) -> Contact:
        made.append(number)
        return at(roster, number)

    monkeypatch.setattr(Roster, "__getitem__", counting)
    page, _ = ContactBook.of_size(1_000_000).page(ORG_ID, ELIGIBLE, 900_000, 1000)
    assert len(page) == len(made) == 1000


def test_a_changed_opt_out_counts_is_kept_and_concerns_one_organisation(tmp_path: Path) -> None:
    kept = tmp_path / "opt-outs.json"
    book = ContactBook.of_size(100, kept)
    before = book.count(ORG_ID, ELIGIBLE)
    ada, oscar = CAST[0].id, CAST[9].id

    changed = book.set_opt_out(ORG_ID, ada, opted_out=True)
    assert changed is not None
    assert changed.marketing_opt_out
    assert book.count(ORG_ID, ELIGIBLE) == before - 1
    book.set_opt_out(ORG_ID, oscar, opted_out=False)
    assert book.count(ORG_ID, ELIGIBLE) == before
    assert book.set_opt_out(ORG_ID, "nobody", opted_out=True) is None

    again = ContactBook.of_size(50, kept)
    assert [contact.marketing_opt_out for contact in again.cast(ORG_ID)[:10:9]] == [True, False]
    assert not again.cast(OTHER_ORG_ID)[0].marketing_opt_out


def test_an_opt_out_of_a_contact_that_is_no_longer_made_is_forgotten(tmp_path: Path) -> None:
    kept = tmp_path / "opt-outs.json"
    ContactBook.of_size(100, kept).set_opt_out(ORG_ID, "contact-0000099", opted_out=True)
    assert ContactBook.of_size(50, kept).get(ORG_ID, "contact-0000099") is None
