"""The contacts of the CRM stand-in: a fixed cast with every trap in it, then as many made-up ones as wanted."""

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


def _cast(
    number: int,
    email: str | None,
    name: tuple[str | None, str | None],
    company: str | None,
    status: str,
    *,
    opted_out: bool = False,
) -> Contact:
    return Contact(f"contact-{number:07d}", email, name[0], name[1], company, status, opted_out)


# fmt: off
CAST = (
    _cast(0, "ada.lovelace@example.com", ("Ada", "Lovelace"), "Analytical Engines Ltd", "CUSTOMER"),
    _cast(1, "zoe.obrien@example.com", ("Zoë", "O'Brien"), "Café Crème", "CUSTOMER"),
    _cast(2, "bob.tables@example.com", ('Bob "Bobby"', "O'Tables"), "Smith & Sons <Ltd>", "CUSTOMER"),
    _cast(3, "brenda.bold@example.com", ("<b>Brenda</b>", "Bold"), "<script>alert(1)</script>", "CUSTOMER"),
    _cast(4, "reject-550@example.com", ("Regina", "Reject"), "No Such Mailbox Inc", "CUSTOMER"),
    _cast(5, "defer-451@example.com", ("Dieter", "Defer"), "Greylist GmbH", "CUSTOMER"),
    _cast(6, "drop@example.com", ("Dora", "Drop"), "Hang-up & Co", "CUSTOMER"),
    _cast(7, "family@example.com", ("Jürgen", "Müller"), "Müller & Töchter", "CUSTOMER"),
    _cast(8, "family@example.com", ("Jana", "Müller"), "Müller & Töchter", "CUSTOMER"),
    _cast(9, "oscar.optout@example.com", ("Oscar", "Optout"), "Quiet Life", "CUSTOMER", opted_out=True),
    _cast(10, None, ("Nora", "Noaddress"), "Paper Post", "CUSTOMER"),
    _cast(11, "lee@example.org", ("小龙", "李"), "北京公司", "LEAD"),
    _cast(12, "lukasz.zolc@example.org", ("Łukasz", "Żółć"), "Gęślą Jaźń", "LEAD"),
    _cast(13, "nameless@example.org", (None, None), None, "LEAD"),
    _cast(14, "liquid@example.org", ("{{ email }}", "{% if true %}"), "Curly {{ companyName }}", "LEAD"),
    _cast(15, "lena.optout@example.org", ("Lena", "Optout"), "Quiet Life", "LEAD", opted_out=True),
    _cast(16, "jose.nandu@example.net", ("José", "Ñandú"), "Ñandú S.A.", "PROSPECT"),
    _cast(17, "o'hara+news@example.net", ("Scarlett", "O'Hara"), 'Tara "Estate"', "PROSPECT"),
    _cast(18, None, ("Paul", "Noaddress"), None, "PROSPECT"),
    _cast(19, "cher@example.net", ("Cher", None), None, "CHURNED"),
    _cast(20, "soren@example.net", ("Søren", "Ægir"), "Ægir ApS", "CHURNED"),
    _cast(21, "carla.optout@example.net", ("Carla", "Optout"), "Quiet Life", "CHURNED", opted_out=True),
)

OTHER_CAST = (
    _cast(0, "hank.scorpio@example.org", ("Hank", "Scorpio"), "Globex", "CUSTOMER"),
    _cast(1, "family@example.com", ("Jürgen", "Müller"), "Globex", "CUSTOMER"),
    _cast(2, "mona.optout@example.org", ("Mona", "Optout"), "Globex", "CUSTOMER", opted_out=True),
    _cast(3, "lars.lead@example.org", ("Lars", "Lead"), "Globex", "LEAD"),
    _cast(4, None, ("Nils", "Noaddress"), "Globex", "PROSPECT"),
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
_MADE_UP = re.compile(r"contact-(\d{7})")
_NUMBERED = re.compile(r"\.(\d{1,7})@")


class Roster:
    """The contacts of one organisation: the cast, then contacts made up from their number, `size` in all.

    Nothing is held for a made-up contact, so a million of them cost nothing until they are asked for.
    """

    def __init__(self, cast: Sequence[Contact], size: int | None = None) -> None:
        self._size = len(cast) if size is None else size
        self.cast = tuple(cast[: self._size])
        self._numbers = {contact.id: number for number, contact in enumerate(self.cast)}
        self._addresses: dict[str, list[int]] = {}
        for number, contact in enumerate(self.cast):
            if contact.email:
                self._addresses.setdefault(contact.email.lower(), []).append(number)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, number: int) -> Contact:
        if not 0 <= number < self._size:
            raise IndexError(number)
        return self.cast[number] if number < len(self.cast) else _made_up(number)

    def traits(self, number: int) -> tuple[str | None, bool, bool]:
        """Its status, whether it opted out, and whether it has an address: what can be filtered by, cheaply."""
        if number < len(self.cast):
            contact = self.cast[number]
            return contact.status, contact.marketing_opt_out, bool(contact.email)
        return _made_up_traits(number)

    def number_of(self, contact_id: str) -> int | None:
        """The place of a contact, None where there is no such contact."""
        if contact_id in self._numbers:
            return self._numbers[contact_id]
        found = _MADE_UP.fullmatch(contact_id)
        number = int(found.group(1)) if found else -1
        return number if len(self.cast) <= number < self._size else None

    def numbers_with(self, email: str) -> list[int]:
        """The places of the contacts with this address, however it is capitalised."""
        numbers = list(self._addresses.get(email.lower(), ()))
        found = _NUMBERED.search(email)
        number = int(found.group(1)) if found else -1
        if len(self.cast) <= number < self._size and self[number].email == email.lower():
            numbers.append(number)
        return numbers


def _bits(number: int) -> int:
    """Knuth's multiplicative hash: neighbours get unlike bits, and every start the same."""
    return number * 2_654_435_761 & 0xFFFFFFFF


def _made_up_traits(number: int) -> tuple[str, bool, bool]:
    bits = _bits(number)
    return STATUSES[(bits >> 24) % len(STATUSES)].value, (bits >> 20) % 20 == 0, (bits >> 14) % 25 != 0


def _made_up(number: int) -> Contact:
    bits = _bits(number)
    status, opted_out, has_email = _made_up_traits(number)
    first = _FIRST_NAMES[(bits >> 4) % len(_FIRST_NAMES)]
    last = _LAST_NAMES[(bits >> 9) % len(_LAST_NAMES)]
    email = None
    if has_email:
        local_part = f"{first}.{last}.{number}".translate(_ASCII).lower()
        email = f"{local_part}@{_DOMAINS[number % len(_DOMAINS)]}"
    company = _COMPANIES[(bits >> 18) % len(_COMPANIES)]
    return Contact(f"contact-{number:07d}", email, first, last, company, status, opted_out)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which contacts are wanted; what is None or empty does not matter."""

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
    """Every organisation's contacts. Changed opt-outs are kept in the file `kept`, where one is named."""

    def __init__(self, rosters: Mapping[str, Roster], kept: Path | None = None) -> None:
        self._rosters = dict(rosters)
        self._kept = kept
        self._opt_outs: dict[str, dict[int, bool]] = {org_id: {} for org_id in rosters}
        self._counts: dict[tuple[str, Filters], int] = {}
        if kept is not None and kept.exists():
            self._restore(json.loads(kept.read_text(encoding="utf-8")))

    @classmethod
    def of_size(cls, size: int, kept: Path | None = None) -> ContactBook:
        """`size` contacts in the organisation `acme`, a handful in `globex`."""
        return cls({ORG_ID: Roster(CAST, size), OTHER_ORG_ID: Roster(OTHER_CAST)}, kept)

    @property
    def organisations(self) -> tuple[str, ...]:
        return tuple(self._rosters)

    def cast(self, org_id: str) -> list[Contact]:
        """The organisation's fixed contacts, as they are now."""
        return [self._at(org_id, number) for number in range(len(self._rosters[org_id].cast))]

    def page(self, org_id: str, filters: Filters, start: int, limit: int) -> tuple[list[Contact], int | None]:
        """At most `limit` contacts from place `start` on, and the place of the next one after them."""
        numbers = list(islice(self._matching(org_id, filters, start), limit + 1))
        following = numbers[limit] if len(numbers) > limit else None
        return [self._at(org_id, number) for number in numbers[:limit]], following

    def count(self, org_id: str, filters: Filters) -> int:
        """How many contacts there are; counted anew only after a change."""
        key = (org_id, filters)
        if key not in self._counts:
            self._counts[key] = sum(1 for _ in self._matching(org_id, filters, 0))
        return self._counts[key]

    def get(self, org_id: str, contact_id: str) -> Contact | None:
        number = self._rosters[org_id].number_of(contact_id)
        return None if number is None else self._at(org_id, number)

    def set_opt_out(self, org_id: str, contact_id: str, *, opted_out: bool) -> Contact | None:
        """The contact after the change, None where there is no such contact."""
        number = self._rosters[org_id].number_of(contact_id)
        if number is None:
            return None
        if self._at(org_id, number).marketing_opt_out is not opted_out:
            self._opt_outs[org_id][number] = opted_out
            self._counts.clear()
            self._save()
        return self._at(org_id, number)

    def _matching(self, org_id: str, filters: Filters, start: int) -> Iterator[int]:
        roster, changed = self._rosters[org_id], self._opt_outs[org_id]
        everybody = range(start, len(roster))
        for number in everybody if filters.email is None else roster.numbers_with(filters.email):
            status, opted_out, has_email = roster.traits(number)
            opted_out = changed.get(number, opted_out)
            if number >= start and filters.allow(status, opted_out=opted_out, has_email=has_email):
                yield number

    def _at(self, org_id: str, number: int) -> Contact:
        contact = self._rosters[org_id][number]
        opted_out = self._opt_outs[org_id].get(number)
        return contact if opted_out is None else replace(contact, marketing_opt_out=opted_out)

    def _save(self) -> None:
        if self._kept is not None:
            by_id = {
                org_id: {self._at(org_id, number).id: opted_out for number, opted_out in changed.items()}
                for org_id, changed in self._opt_outs.items()
            }
            write_private(self._kept, json.dumps(by_id))

    def _restore(self, by_id: Mapping[str, Mapping[str, bool]]) -> None:
        """Fewer contacts than last time: what is known of the others is forgotten."""
        for org_id in by_id.keys() & self._rosters.keys():
            for contact_id, opted_out in by_id[org_id].items():
                number = self._rosters[org_id].number_of(contact_id)
                if number is not None:
                    self._opt_outs[org_id][number] = opted_out
