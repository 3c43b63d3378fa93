"""The contacts of the development CRM: a fixed list that contains every special case, then generated contacts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from marketing_service.devstack.process import write_private
from marketing_service.ports import Contact, ContactStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

ORG_ID = "acme"
OTHER_ORG_ID = "globex"

STATUSES = (
    ContactStatus("LEAD", "Lead"),
    ContactStatus("PROSPECT", "Prospect"),
    ContactStatus("CUSTOMER", "Customer"),
    ContactStatus("CHURNED", "Churned"),
)


def _contact(
    index: int,
    email: str | None,
    name: tuple[str | None, str | None],
    company: str | None,
    status: str,
    *,
    opted_out: bool = False,
) -> Contact:
    return Contact(f"contact-{index:07d}", email, name[0], name[1], company, status, opted_out)


# fmt: off
FIXED_CONTACTS = (
    _contact(0, "ada.lovelace@example.com", ("Ada", "Lovelace"), "Analytical Engines Ltd", "CUSTOMER"),
    _contact(1, "zoe.obrien@example.com", ("Zoë", "O'Brien"), "Café Crème", "CUSTOMER"),
    _contact(2, "bob.tables@example.com", ('Bob "Bobby"', "O'Tables"), "Smith & Sons <Ltd>", "CUSTOMER"),
    _contact(3, "brenda.bold@example.com", ("<b>Brenda</b>", "Bold"), "<script>alert(1)</script>", "CUSTOMER"),
    _contact(4, "reject-550@example.com", ("Regina", "Reject"), "No Such Mailbox Inc", "CUSTOMER"),
    _contact(5, "defer-451@example.com", ("Dieter", "Defer"), "Greylist GmbH", "CUSTOMER"),
    _contact(6, "drop@example.com", ("Dora", "Drop"), "Hang-up & Co", "CUSTOMER"),
    _contact(7, "family@example.com", ("Jürgen", "Müller"), "Müller & Töchter", "CUSTOMER"),
    _contact(8, "family@example.com", ("Jana", "Müller"), "Müller & Töchter", "CUSTOMER"),
    _contact(9, "oscar.optout@example.com", ("Oscar", "Optout"), "Quiet Life", "CUSTOMER", opted_out=True),
    _contact(10, None, ("Nora", "Noaddress"), "Paper Post", "CUSTOMER"),
    _contact(11, "lee@example.org", ("小龙", "李"), "北京公司", "LEAD"),
    _contact(12, "lukasz.zolc@example.org", ("Łukasz", "Żółć"), "Gęślą Jaźń", "LEAD"),
    _contact(13, "nameless@example.org", (None, None), None, "LEAD"),
    _contact(14, "liquid@example.org", ("{{ email }}", "{% if true %}"), "Curly {{ companyName }}", "LEAD"),
    _contact(15, "lena.optout@example.org", ("Lena", "Optout"), "Quiet Life", "LEAD", opted_out=True),
    _contact(16, "jose.nandu@example.net", ("José", "Ñandú"), "Ñandú S.A.", "PROSPECT"),
    _contact(17, "o'hara+news@example.net", ("Scarlett", "O'Hara"), 'Tara "Estate"', "PROSPECT"),
    _contact(18, None, ("Paul", "Noaddress"), None, "PROSPECT"),
    _contact(19, "cher@example.net", ("Cher", None), None, "CHURNED"),
    _contact(20, "soren@example.net", ("Søren", "Ægir"), "Ægir ApS", "CHURNED"),
    _contact(21, "carla.optout@example.net", ("Carla", "Optout"), "Quiet Life", "CHURNED", opted_out=True),
)

OTHER_FIXED_CONTACTS = (
    _contact(0, "hank.scorpio@example.org", ("Hank", "Scorpio"), "Globex", "CUSTOMER"),
    _contact(1, "family@example.com", ("Jürgen", "Müller"), "Globex", "CUSTOMER"),
    _contact(2, "mona.optout@example.org", ("Mona", "Optout"), "Globex", "CUSTOMER", opted_out=True),
    _contact(3, "lars.lead@example.org", ("Lars", "Lead"), "Globex", "LEAD"),
    _contact(4, None, ("Nils", "Noaddress"), "Globex", "PROSPECT"),
)
# fmt: on

# fmt: off
_FIRST_NAMES = (
    "Amélie", "Björn", "Chloé", "Daniel", "Elif", "François", "Grace", "Håkon", "Inés", "João", "Katarzyna",
    "Léa", "Malik", "Noémie", "Omar",
)
_LAST_NAMES = (
    "Andersson", "Bianchi", "Çelik", "D'Angelo", "Eriksen", "Fernández", "García", "Hansen", "Ivanova",
    "Jönsson", "Kovač", "Müller",
)
# fmt: on
_COMPANIES = ("Ocean & Sons", "Brücke AG", "Café Noir", 'The "Best" Bakery', "Delta < Gamma", "Éclair SARL", None)
_DOMAINS = ("example.com", "example.net", "example.org")
_ASCII = str.maketrans("áãåéíöüçČčÇ'", "aaaeioucccc-")
_GENERATED_ID = re.compile(r"contact-(\d{7})")
_GENERATED_EMAIL = re.compile(r"\.(\d{1,7})@")


class OrgContacts:
    """The contacts of one organisation: the fixed ones, then generated ones. `size` is the total.

    A generated contact is computed from its index when it is read, so a million contacts use no memory.
    """

    def __init__(self, fixed: Sequence[Contact], size: int | None = None) -> None:
        self._size = len(fixed) if size is None else size
        self.fixed = tuple(fixed[: self._size])
        self._indexes = {contact.id: index for index, contact in enumerate(self.fixed)}
        self._addresses: dict[str, list[int]] = {}
        for index, contact in enumerate(self.fixed):
            if contact.email:
                self._addresses.setdefault(contact.email.lower(), []).append(index)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Contact:
        if not 0 <= index < self._size:
            raise IndexError(index)
        return self.fixed[index] if index < len(self.fixed) else _generated(index)

    def filter_values(self, index: int) -> tuple[str | None, bool, bool]:
        """(status, opted out, has an address): the values for the filters, without making the whole contact."""
        if index < len(self.fixed):
            contact = self.fixed[index]
            return contact.status, contact.marketing_opt_out, bool(contact.email)
        return _generated_values(index)

    def index_of(self, contact_id: str) -> int | None:
        """The index of a contact, or None if there is no such contact."""
        if contact_id in self._indexes:
            return self._indexes[contact_id]
        found = _GENERATED_ID.fullmatch(contact_id)
        index = int(found.group(1)) if found else -1
        return index if len(self.fixed) <= index < self._size else None

    def indexes_with_email(self, email: str) -> list[int]:
        """The indexes of the contacts with this address. The comparison ignores case."""
        indexes = list(self._addresses.get(email.lower(), ()))
        found = _GENERATED_EMAIL.search(email)
        index = int(found.group(1)) if found else -1
        if len(self.fixed) <= index < self._size and self[index].email == email.lower():
            indexes.append(index)
        return indexes


def _hash(index: int) -> int:
    """Knuth's multiplicative hash: neighbouring indexes get different values, and each run gives the same values."""
    return index * 2_654_435_761 & 0xFFFFFFFF


def _generated_values(index: int) -> tuple[str, bool, bool]:
    hashed = _hash(index)
    return STATUSES[(hashed >> 24) % len(STATUSES)].value, (hashed >> 20) % 20 == 0, (hashed >> 14) % 25 != 0


def _generated(index: int) -> Contact:
    hashed = _hash(index)
    status, opted_out, has_email = _generated_values(index)
    first = _FIRST_NAMES[(hashed >> 4) % len(_FIRST_NAMES)]
    last = _LAST_NAMES[(hashed >> 9) % len(_LAST_NAMES)]
    email = None
    if has_email:
        local_part = f"{first}.{last}.{index}".translate(_ASCII).lower()
        email = f"{local_part}@{_DOMAINS[index % len(_DOMAINS)]}"
    company = _COMPANIES[(hashed >> 18) % len(_COMPANIES)]
    return Contact(f"contact-{index:07d}", email, first, last, company, status, opted_out)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which contacts to return. A filter that is None or empty is not applied."""

    has_email: bool | None = None
    opted_out: bool | None = None
    statuses: frozenset[str] = frozenset()
    email: str | None = None

    def allow(self, status: str | None, *, opted_out: bool, has_email: bool) -> bool:
        return (
            (self.has_email is None or self.has_email is has_email)
            and (self.opted_out is None or self.opted_out is opted_out)
            and (not self.statuses or status in self.statuses)
        )


class ContactBook:
    """The contacts of all organisations. Changed opt-outs are saved in `opt_outs_path`, if one is given."""

    def __init__(self, contacts: Mapping[str, OrgContacts], opt_outs_path: Path | None = None) -> None:
        self._contacts = dict(contacts)
        self._opt_outs_path = opt_outs_path
        self._opt_outs: dict[str, dict[int, bool]] = {org_id: {} for org_id in contacts}
        self._counts: dict[tuple[str, Filters], int] = {}
        if opt_outs_path is not None and opt_outs_path.exists():
            self._restore(json.loads(opt_outs_path.read_text(encoding="utf-8")))

    @classmethod
    def of_size(cls, size: int, opt_outs_path: Path | None = None) -> ContactBook:
        """`size` contacts in the organisation `acme`, and the five fixed ones in `globex`."""
        return cls(
            {ORG_ID: OrgContacts(FIXED_CONTACTS, size), OTHER_ORG_ID: OrgContacts(OTHER_FIXED_CONTACTS)}, opt_outs_path
        )

    @property
    def organisations(self) -> tuple[str, ...]:
        return tuple(self._contacts)

    def fixed_contacts(self, org_id: str) -> list[Contact]:
        """The organisation's fixed contacts, with their current opt-outs."""
        return [self._at(org_id, index) for index in range(len(self._contacts[org_id].fixed))]

    def page(self, org_id: str, filters: Filters, start: int, limit: int) -> tuple[list[Contact], int | None]:
        """At most `limit` contacts from index `start` on, and the index of the next match (None: no more)."""
        indexes = list(islice(self._matching(org_id, filters, start), limit + 1))
        next_start = indexes[limit] if len(indexes) > limit else None
        return [self._at(org_id, index) for index in indexes[:limit]], next_start

    def count(self, org_id: str, filters: Filters) -> int:
        """The number of matching contacts. It is cached until an opt-out changes."""
        key = (org_id, filters)
        if key not in self._counts:
            self._counts[key] = sum(1 for _ in self._matching(org_id, filters, 0))
        return self._counts[key]

    def get(self, org_id: str, contact_id: str) -> Contact | None:
        index = self._contacts[org_id].index_of(contact_id)
        return None if index is None else self._at(org_id, index)

    def set_opt_out(self, org_id: str, contact_id: str, *, opted_out: bool) -> Contact | None:
        """Returns the contact after the change, or None if there is no such contact."""
        index = self._contacts[org_id].index_of(contact_id)
        if index is None:
            return None
        if self._at(org_id, index).marketing_opt_out is not opted_out:
            self._opt_outs[org_id][index] = opted_out
            self._counts.clear()
            self._save()
        return self._at(org_id, index)

    def _matching(self, org_id: str, filters: Filters, start: int) -> Iterator[int]:
        contacts, changed = self._contacts[org_id], self._opt_outs[org_id]
        by_email = None if filters.email is None else contacts.indexes_with_email(filters.email)
        for index in range(start, len(contacts)) if by_email is None else by_email:
            status, opted_out, has_email = contacts.filter_values(index)
            opted_out = changed.get(index, opted_out)
            if index >= start and filters.allow(status, opted_out=opted_out, has_email=has_email):
                yield index

    def _at(self, org_id: str, index: int) -> Contact:
        contact = self._contacts[org_id][index]
        opted_out = self._opt_outs[org_id].get(index)
        return contact if opted_out is None else replace(contact, marketing_opt_out=opted_out)

    def _save(self) -> None:
        if self._opt_outs_path is not None:
            by_id = {
                org_id: {self._at(org_id, index).id: opted_out for index, opted_out in changed.items()}
                for org_id, changed in self._opt_outs.items()
            }
            write_private(self._opt_outs_path, json.dumps(by_id))

    def _restore(self, by_id: Mapping[str, Mapping[str, bool]]) -> None:
        """Applies the saved opt-outs. Those of contacts that no longer exist (the size is smaller) are ignored."""
        for org_id in by_id.keys() & self._contacts.keys():
            for contact_id, opted_out in by_id[org_id].items():
                index = self._contacts[org_id].index_of(contact_id)
                if index is not None:
                    self._opt_outs[org_id][index] = opted_out
