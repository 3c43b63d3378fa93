"""The campaign of the benchmarks: 8 KB of HTML with four placeholders, a short text, and invented people."""

from __future__ import annotations

FROM_EMAIL = "news@example.com"
SUBJECT = "News for {{ firstName }}"
TEXT = "Dear {{ firstName }} {{ lastName }}, there is news for {{ companyName }}.\n"

_BEFORE = "<html><body><p>Dear {{ firstName }} {{ lastName }},</p>\n"
_AFTER = "<p>We wrote to {{ email }} at {{ companyName }}.</p></body></html>\n"
_PARAGRAPH = '<p style="margin: 0 0 16px">The quick brown fox jumps over the lazy dog & goes home.</p>\n'
_LENGTH = 8192
_BODY = _PARAGRAPH * (_LENGTH // len(_PARAGRAPH))
HTML = _BEFORE + _BODY[: _LENGTH - len(_BEFORE) - len(_AFTER)].rpartition("\n")[0] + "\n" + _AFTER

_FIRST = ("Zoë", "Alex", "Noor", "María", "Jürgen", "Li", "Sean", "Amélie", "Ola", "Priya")
_LAST = ("O'Neill", "Ng", "García", "Müller", "Smith", "Sørensen", "Kowalski", "da Silva", "Haddad", "Lee")
_COMPANIES = ("Fish & Chips Ltd", "Example GmbH", "Café Noir", "Widgets, Inc.", "Nordic <Design> AS")


def person(number: int) -> dict[str, str]:
    """Return the placeholder values of a person. The same number always gives the same person."""
    return {
        "firstName": _FIRST[number % len(_FIRST)],
        "lastName": _LAST[number // len(_FIRST) % len(_LAST)],
        "companyName": _COMPANIES[number % len(_COMPANIES)],
        "email": f"person{number}@example.org",
    }
