"""The campaign of the benchmarks: 8 KB of HTML with four placeholders, a short text, and invented people."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from marketing_service.rendering import MergeFields, MessageSource, RecipientData, compile_message

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


def message() -> bytes:
    """One message of the campaign as the worker sends it, with LF line ends."""
    source = MessageSource(UUID(int=1), "bench", "Example Ltd", FROM_EMAIL, None, SUBJECT, HTML, TEXT)
    who = person(1)
    fields = MergeFields(who["email"], who["firstName"], who["lastName"], who["companyName"])
    tokens = ("unsubscribe".ljust(43, "0"), "open".ljust(43, "0"), "click".ljust(43, "0"))
    compiled = compile_message(source, public_base_url="https://portal.example.com", one_click=True)
    rendered = compiled.render(RecipientData(UUID(int=2), fields, datetime.now(UTC), *tokens))
    return rendered.replace(b"\r\n", b"\n")
