import itertools
from pathlib import Path

import pytest

from marketing_service.devstack.contacts import (
    FIXED_CONTACTS,
    ORG_ID,
    OTHER_ORG_ID,
    STATUSES,
    ContactBook,
    Filters,
    OrgContacts,
)
from marketing_service.ports import Contact

ELIGIBLE = Filters(has_email=True, opted_out=False)


def all_contacts(book: ContactBook, filters: Filters, limit: int = 1000) -> list[Contact]:
    found: list[Contact] = []
    start: int | None = 0
    while start is not None:
        page, start = book.page(ORG_ID, filters, start, limit)
        assert len(page) <= limit
        found += page
    return found


def test_the_fixed_contacts_include_every_special_case() -> None:
    customers = [contact for contact in FIXED_CONTACTS if contact.status == "CUSTOMER"]
    addresses = [contact.email for contact in customers if contact.email]
    assert {contact.status for contact in FIXED_CONTACTS} == {status.value for status in STATUSES}
    assert {"reject-550@example.com", "defer-451@example.com", "drop@example.com"} <= set(addresses)
    assert len(addresses) == len(set(addresses)) + 1
    assert any(contact.marketing_opt_out for contact in customers)
    assert any(contact.email is None for contact in customers)
    names = " ".join(f"{contact.first_name} {contact.last_name}" for contact in customers)
    assert all(special in names for special in ("ë", '"', "'", "<b>"))


def test_generated_contacts_are_the_same_every_time_and_do_not_depend_on_the_size() -> None:
    small, large = all_contacts(ContactBook.of_size(100), Filters()), all_contacts(ContactBook.of_size(200), Filters())
    assert len(small) == 100
    assert large[:100] == small
    assert [contact.id for contact in large] == sorted(contact.id for contact in large)
    assert len({contact.id for contact in large}) == 200


@pytest.mark.parametrize("size", [0, 3, len(FIXED_CONTACTS)])
def test_a_book_can_be_smaller_than_the_fixed_contacts(size: int) -> None:
    assert all_contacts(ContactBook.of_size(size), Filters()) == list(FIXED_CONTACTS[:size])


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_pages_of_any_size_return_each_match_once_and_agree_with_the_count(limit: int) -> None:
    book = ContactBook.of_size(300)
    for has_email, opted_out, statuses in itertools.product(
        (None, True, False), (None, True, False), ((), ("LEAD",), ("CUSTOMER", "CHURNED"))
    ):
        filters = Filters(has_email, opted_out, frozenset(statuses))
        expected = [
            contact
            for contact in all_contacts(book, Filters())
            if has_email in (None, contact.email is not None)
            and opted_out in (None, contact.marketing_opt_out)
            and (not statuses or contact.status in statuses)
        ]
        assert all_contacts(book, filters, limit) == expected
        assert book.count(ORG_ID, filters) == len(expected)


def test_a_contact_is_found_by_its_id_and_by_its_address_in_any_case() -> None:
    book = ContactBook.of_size(100)
    for contact in all_contacts(book, Filters(has_email=True)):
        assert contact in all_contacts(book, Filters(email=str(contact.email).upper()))
        assert book.get(ORG_ID, contact.id) == contact
    assert len(all_contacts(book, Filters(email="family@example.com"))) == 2
    assert all_contacts(book, Filters(email="ines.bianchi.99@example.com")) == []
    assert book.get(ORG_ID, "contact-0000100") is None
    assert book.get(ORG_ID, "somebody") is None


def test_a_page_of_a_million_contacts_generates_only_that_page(monkeypatch: pytest.MonkeyPatch) -> None:
    generated: list[int] = []
    get = OrgContacts.__getitem__

    def counting(contacts: OrgContacts, index: int) -> Contact:
        generated.append(index)
        return get(contacts, index)

    monkeypatch.setattr(OrgContacts, "__getitem__", counting)
    page, _ = ContactBook.of_size(1_000_000).page(ORG_ID, ELIGIBLE, 900_000, 1000)
    assert len(page) == len(generated) == 1000


def test_a_changed_opt_out_is_counted_and_saved_for_one_organisation(tmp_path: Path) -> None:
    path = tmp_path / "opt-outs.json"
    book = ContactBook.of_size(100, path)
    before = book.count(ORG_ID, ELIGIBLE)
    ada, oscar = FIXED_CONTACTS[0].id, FIXED_CONTACTS[9].id

    changed = book.set_opt_out(ORG_ID, ada, opted_out=True)
    assert changed is not None
    assert changed.marketing_opt_out
    assert book.count(ORG_ID, ELIGIBLE) == before - 1
    book.set_opt_out(ORG_ID, oscar, opted_out=False)
    assert book.count(ORG_ID, ELIGIBLE) == before
    assert book.set_opt_out(ORG_ID, "nobody", opted_out=True) is None

    again = ContactBook.of_size(50, path)
    assert [contact.marketing_opt_out for contact in again.fixed_contacts(ORG_ID)[:10:9]] == [True, False]
    assert not again.fixed_contacts(OTHER_ORG_ID)[0].marketing_opt_out


def test_a_saved_opt_out_of_a_contact_that_no_longer_exists_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "opt-outs.json"
    ContactBook.of_size(100, path).set_opt_out(ORG_ID, "contact-0000099", opted_out=True)
    assert ContactBook.of_size(50, path).get(ORG_ID, "contact-0000099") is None
