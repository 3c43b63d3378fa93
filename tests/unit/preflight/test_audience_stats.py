"""What a launch would do with an audience."""

from __future__ import annotations

from typing import Any

from marketing_service.addresses import mailbox_key, read_address
from marketing_service.ports import Contact, LeftOut
from marketing_service.preflight.audience_stats import AudienceStats
from marketing_service.rendering import Finding, RenderCheck, Severity

NONE_LEFT_OUT = LeftOut(0, 0)


def person(number: int, **values: Any) -> Contact:
    defaults = {
        "id": f"c{number}",
        "email": f"person{number}@example.com",
        "first_name": "Ada",
        "last_name": None,
        "company_name": None,
        "status": None,
        "marketing_opt_out": False,
    }
    return Contact(**(defaults | values))


def stats_of(
    *contacts: Contact,
    blocked: frozenset[str] = frozenset(),
    suppressed: frozenset[str] = frozenset(),
    missed: frozenset[str] = frozenset(),
    subject: str = "Hello",
    html: str = "x",
) -> AudienceStats:
    stats = AudienceStats(RenderCheck(subject, html, None))
    # In two pages, so that duplicates across pages are tested too.
    for half in (contacts[: len(contacts) // 2], contacts[len(contacts) // 2 :]):
        stats.add(
            [(contact, read_address(contact.email or "")) for contact in half],
            set(map(mailbox_key, blocked)),
            set(map(mailbox_key, suppressed)),
            missed,
        )
    return stats


def findings(stats: AudienceStats, left_out: LeftOut = NONE_LEFT_OUT) -> dict[str, Finding]:
    return {f"{finding.code} {finding.place}": finding for finding in stats.findings(left_out)}


def test_each_contact_is_counted_once_under_the_first_matching_reason() -> None:
    stats = stats_of(
        person(1),
        person(2, email=" PERSON1@example.com "),
        person(3, email="no address"),
        person(4, email="gone@example.com"),
        person(5, email="Gone@example.com"),
        person(6, marketing_opt_out=True),
        person(7, email=None),
        person(1),
        person(3, email="no address"),
        person(8, email="Bounced@example.com"),
        blocked=frozenset({"gone@example.com"}),
        suppressed=frozenset({"gone@example.com", "bounced@example.com"}),
    )
    assert (stats.recipients, stats.duplicates, stats.malformed, stats.opted_out) == (1, 1, 1, 2)
    assert stats.suppressed == 1
    found = findings(stats, LeftOut(opted_out=3, without_address=4))
    assert {code: finding.count for code, finding in found.items()} == {
        "OPTED_OUT audience": 5,
        "SUPPRESSED audience": 1,
        "NO_ADDRESS audience": 4,
        "DUPLICATE audience": 1,
        "MALFORMED_ADDRESS audience": 1,
    }
    assert found["MALFORMED_ADDRESS audience"].severity is Severity.WARNING


def test_an_empty_audience_is_a_warning() -> None:
    assert findings(stats_of())["NOBODY audience"].severity is Severity.WARNING
    assert findings(stats_of(person(1))) == {}


def test_missing_values_are_counted_per_placeholder() -> None:
    html = "Dear {{lastName}} of {{ companyName | default: 'your company' }}"
    found = findings(stats_of(person(1), person(2, last_name="Love"), person(3, company_name=" \n"), html=html))
    assert (found["MISSING_VALUE lastName"].count, found["MISSING_VALUE lastName"].severity) == (2, Severity.WARNING)
    assert (found["MISSING_VALUE companyName"].count, found["MISSING_VALUE companyName"].severity) == (3, Severity.NOTE)
    assert "MISSING_VALUE firstName" not in found


def test_a_part_that_renders_empty_is_an_error() -> None:
    found = findings(stats_of(person(1), person(2, first_name=None), person(3, first_name=""), subject="{{firstName}}"))
    assert (found["RENDERS_EMPTY subject"].count, found["RENDERS_EMPTY subject"].severity) == (2, Severity.ERROR)
    assert "RENDERS_EMPTY htmlBody" not in found


def test_spellings_of_one_mailbox_are_one_recipient() -> None:
    stats = stats_of(
        person(1, email="info@bücher.example"),
        person(2, email="INFO@xn--bcher-kva.example"),
        person(3, email="gone@BÜCHER.example"),
        person(4, email="bounced@bu\u0308cher.example"),
        person(5, email="missed@bücher.example"),
        blocked=frozenset({"gone@bücher.example"}),
        suppressed=frozenset({"bounced@bücher.example"}),
        missed=frozenset({"c5"}),
    )
    assert (stats.recipients, stats.duplicates, stats.malformed, stats.opted_out, stats.suppressed) == (1, 1, 0, 2, 1)
