"""Time to compose one message: `python -m bench.compose`.

It compares the service's compiled templates, with and without links and Liquid tags, with `EmailMessage`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from time import perf_counter
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from marketing_service.rendering import MergeFields, MessageSource, RecipientData, compile_message

if TYPE_CHECKING:
    from collections.abc import Callable

_PARAGRAPH = (
    '<p style="margin: 0 0 16px">The quick brown fox, {0} times, jumps over the lazy dog & goes and home.</p>\n'
)
_BODY = "".join(_PARAGRAPH.format(number) for number in range(83))
_HTML = (
    '<html><body><p>Dear {{ firstName | default: "there" }} {{ lastName }},</p>\n'
    + _BODY
    + "<p>We wrote to {{ email }} at {{ companyName }}.</p></body></html>"
)
_LIQUID_TAGS = _HTML.replace("<p>We", "{% if companyName %}<p>For {{ companyName | upcase }}.</p>{% endif %}<p>We")
_LINKS = _HTML + "".join(
    f'<p><a href="https://shop.example/{number}?from=news">Read on</a></p>\n' for number in range(10)
)
_MESSAGES = 3000


def _source(html: str, *, track_clicks: bool = False) -> MessageSource:
    subject, sender = "News for {{ firstName }}", "news@example.com"
    return MessageSource(
        uuid4(), "org-1", "Example Ltd", sender, None, subject, html, "Dear {{ firstName }}, news!", track_clicks
    )


def _recipients() -> list[RecipientData]:
    now = datetime.now(UTC)
    return [
        RecipientData(
            UUID(int=number),
            MergeFields(f"contact{number}@example.org", f"Zoë {number}", "O'Neill", "Fish & Chips Ltd"),
            now,
            f"unsubscribe{number:032}",
            f"open{number:039}",
            f"click{number:038}",
        )
        for number in range(_MESSAGES)
    ]


def _compose_with_email_message(html: str, personal: RecipientData) -> bytes:
    message = EmailMessage(policy=SMTP)
    message["From"] = "Example Ltd <news@example.com>"
    message["To"] = personal.fields.email
    message["Subject"] = f"News for {personal.fields.first_name}"
    message["Date"] = personal.date
    message["Message-ID"] = f"<{personal.send_id.hex}@example.com>"
    message.set_content("Dear {{ firstName }}, news!".replace("{{ firstName }}", personal.fields.first_name or ""))
    message.add_alternative(html.replace("{{ firstName }}", personal.fields.first_name or ""), subtype="html")
    return message.as_bytes()


def _microseconds(render: Callable[[RecipientData], bytes], recipients: list[RecipientData]) -> float:
    """Microseconds for each message: the median of five passes."""
    passes = []
    for _ in range(5):
        start = perf_counter()
        for personal in recipients:
            render(personal)
        passes.append((perf_counter() - start) / len(recipients) * 1e6)
    return sorted(passes)[2]


def main() -> None:
    recipients = _recipients()
    public = "https://portal.example.org"
    start = perf_counter()
    message = compile_message(_source(_HTML), public_base_url=public, one_click=True)
    compile_seconds = perf_counter() - start
    liquid_tags = compile_message(_source(_LIQUID_TAGS), public_base_url=public, one_click=True)
    links = compile_message(_source(_LINKS), public_base_url=public, one_click=True)
    tracked = compile_message(_source(_LINKS, track_clicks=True), public_base_url=public, one_click=True)
    plain = _microseconds(lambda personal: _compose_with_email_message(_HTML, personal), recipients[:200])
    print(f"HTML body {len(_HTML):,} characters, message {len(message.render(recipients[0])):,} octets")
    print(f"compile once              {compile_seconds * 1e3:8.1f} ms")
    print(f"EmailMessage.as_bytes()   {plain:8.1f} µs")
    for name, render in (
        ("compiled, 7bit", message.render),
        ("compiled, 8bit", lambda personal: message.render(personal, eight_bit=True)),
        ("ten links, 7bit", links.render),
        ("... tracked, 7bit", tracked.render),
        ("with Liquid tags, 7bit", liquid_tags.render),
        ("with Liquid tags, 8bit", lambda personal: liquid_tags.render(personal, eight_bit=True)),
    ):
        duration = _microseconds(render, recipients)
        print(f"{name:<24}  {duration:8.1f} µs   {plain / duration:6.1f} x as fast")


if __name__ == "__main__":
    main()
