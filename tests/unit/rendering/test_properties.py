"""For any template and contact, the message is parsed to the same content as the standard library's EmailMessage."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketing_service.rendering import (
    CompiledMessage,
    MergeFields,
    MessageSource,
    NotRenderable,
    RecipientData,
    compile_message,
)
from marketing_service.rendering.headers import ascii_address
from marketing_service.rendering.language import Escaping, parse
from marketing_service.rendering.template import clean

HEADER = ["From", "To", "Reply-To", "Subject", "Date", "Message-ID", "List-Unsubscribe", "List-Unsubscribe-Post"]
HEADER += ["List-Id", "Feedback-ID", "MIME-Version", "Content-Type"]
LIQUID = [
    "{{ firstName }}",
    "{{firstName|default:'dear friend'}}",
    "{{ lastName }}",
    "{{ companyName | default: 'Größe & <Co>' }}",
    "{{ email }}",
    "{{ lastName | upcase | truncate: 9 }}",
    "{% if firstName %}Hi {{ firstName }},\n{% else %}Hello,{% endif %}",
    "{% unless companyName == 'x' %}<b>{{ companyName }}</b>{% endunless %}",
    "{% for i in (1..3) %}{{ i }}. {{ lastName }} = \n{% endfor %}",
    "{% assign greeting = firstName | default: 'you' %}{{ greeting }}",
    "{% capture line %}{{ lastName }}\n\n{% endcapture %}{{ line }}",
    "{%- comment -%} nothing {%- endcomment -%}",
]
LITERALS = [
    "\n",
    "\r\n",
    " \n",
    "\t\n",
    ".\n",
    "=",
    "=20",
    "é" * 40,
    "x" * 80,
    "word " * 300,
    "From here\n",
    "<p>text</p>",
    "--=_",
    "\r",
]
text = st.text(st.characters(exclude_categories=["Cs", "Co"], exclude_characters="{<>"), max_size=40)
templates = st.lists(st.one_of(st.sampled_from(LIQUID), st.sampled_from(LITERALS), text), min_size=1, max_size=12).map(
    "".join
)
lines = st.lists(st.one_of(st.sampled_from(LIQUID[:6]), text), max_size=5).map("".join)
values = (
    st.none()
    | st.text(max_size=90)
    | st.sampled_from(["<b>&'\"", "a\r\nBcc: x@example.com", "=?utf-8?q?x?=", "=", "."])
)
contacts = st.builds(
    MergeFields, st.sampled_from(["kim@example.com", "o'neil+x@sub.münchen.example"]), values, values, values
)


def plain_message(subject: str, bodies: list[str]) -> EmailMessage:
    """The message of the standard library, written and parsed again."""
    message = EmailMessage(policy=policy.SMTP)
    message["Subject"] = subject
    message.set_content(bodies[0])
    message.add_alternative(bodies[1], subtype="html")
    return message_from_bytes(message.as_bytes(), policy=policy.default)


def contents(message: EmailMessage) -> list[str]:
    return [part.get_content().replace("\r\n", "\n") for part in message.iter_parts()]


@settings(max_examples=100, deadline=None)
@given(templates, templates, lines, contacts, st.booleans())
def test_the_bytes_are_parsed_like_those_of_the_standard_library(
    text_body: str, html_body: str, subject: str, fields: MergeFields, eight_bit: bool
) -> None:
    text_body, html_body = f"{text_body}.", f"<i>{html_body}."
    source = MessageSource(
        UUID(int=1), "org", "Zoë, Inc.", "news@example.com", "r@example.com", subject, html_body, text_body
    )
    recipient = RecipientData(UUID(int=2), fields, datetime.now(UTC), "token", "token")
    compiled = compile_message(source, public_base_url="https://portal.example.org", one_click=True)
    rendered = compiled.render(recipient, eight_bit=eight_bit)

    assert max(map(len, rendered.split(b"\r\n"))) <= (998 if eight_bit else 200)
    assert rendered.count(b"\r") == rendered.count(b"\n") == rendered.count(b"\r\n")
    assert rendered.endswith(b"\r\n")
    assert b"\x00" not in rendered
    assert eight_bit or rendered.isascii()

    parsed = message_from_bytes(rendered, policy=policy.default)
    assert not parsed.defects
    assert parsed.keys() == HEADER
    assert [(a.display_name, a.addr_spec) for a in parsed["From"].addresses] == [("Zoë, Inc.", "news@example.com")]
    assert [a.addr_spec for a in parsed["To"].addresses] == [ascii_address(fields.email or "")]

    said = [
        filled(subject, fields),
        filled(text_body, fields),
        filled(html_body, fields, Escaping.VALUES) + "</i>",
    ]
    text_part, html_part = contents(parsed)
    assert (
        text_part.removesuffix("Unsubscribe: https://portal.example.org/api/marketing/unsubscribe/token\n")
        == f"{said[1]}\n\n-- \n"
    )
    before, found, after = html_part.rpartition("\n<div style=")
    assert found
    assert (before, after.rpartition("\n")[0].count("<img ")) == (said[2], 1)
    expected = clean(said[0])
    assert parsed["Subject"] == expected
    plain = plain_message(expected, [text_part, html_part])
    assert contents(parsed) == contents(plain)
    if expected.isascii() and "=?" not in expected:  # EmailMessage itself loses spaces beside encoded words
        assert parsed["Subject"] == plain["Subject"].lstrip()  # it folds before a long first word


def filled(source: str, fields: MergeFields, escaping: Escaping = Escaping.NONE) -> str:
    """The template as Liquid alone renders it."""
    kept = "".join(
        c for c in source.replace("\r\n", "\n").replace("\r", "\n") if c in "\n\t" or c.isprintable() or ord(c) > 0x9F
    )
    if escaping is Escaping.NONE:
        kept = kept.strip("\n")
    return parse(kept, escaping).render(**fields.cleaned())


INJECTIONS = [
    "\r\nBcc: victim@example.com",
    "\nBcc: x@example.com\n\n",
    "\r",
    "\n",
    "\x00",
    "\x0b",
    "\x85",
    "\u2028",
    "\ud800",
]
INJECTIONS += [
    "=?utf-8?q?=0D=0ABcc:_x@example.com?=",
    "=?utf-8?b?DQpCY2M6IHhAZXhhbXBsZS5jb20=?=",
    "?=",
    "=?",
    "=\r\n",
    "=0D=0A",
]
INJECTIONS += [
    '"',
    "\\",
    ">",
    "<",
    ",",
    ";",
    ":",
    "(",
    ")",
    "@",
    "\t",
    " ",
    "é",
    "😀",
    "a" * 100,
    "a" * 1200,
    "é" * 700,
    "{{ email }}",
]
INJECTIONS += [
    "{{ firstName }}",
    "--=_",
    "\r\n.\r\n",
    "\r\n\r\n--=_x",
    "Bob",
    "x@example.com",
    "Content-Type: text/html",
]


def hostile(chance: random.Random, limit: int = 5) -> str:
    return "".join(chance.choices(INJECTIONS, k=chance.randint(0, limit)))


def hostile_message(chance: random.Random) -> CompiledMessage | None:
    address = "news@example.com"
    source = MessageSource(
        UUID(int=chance.getrandbits(128)),
        hostile(chance).encode("utf-8", "replace").decode(),
        hostile(chance),
        chance.choice([address, address + hostile(chance, 1)]),
        chance.choice([None, address, hostile(chance, 2) + address]),
        hostile(chance),
        hostile(chance) + "<p>" + hostile(chance),
        hostile(chance) + "text",
    )
    try:
        return compile_message(source, public_base_url="https://portal.example.org", one_click=True)
    except NotRenderable:
        return None


@pytest.mark.parametrize("seed", range(4))
def test_2500_hostile_inputs_inject_nothing(seed: int) -> None:
    """Four times 2,500: every message has the header it should have, short lines, and a whole List-Unsubscribe."""
    chance = random.Random(seed)
    parser = BytesHeaderParser()
    tried = made = 0
    unsubscribe = (
        b"\r\nList-Unsubscribe: <https://portal.example.org/api/marketing/unsubscribe/token>\r\nList-Unsubscribe-Post: "
    )
    while tried < 2500:
        compiled = hostile_message(chance)
        tried += 1
        if compiled is None:
            continue
        for _ in range(49):
            tried += 1
            fields = MergeFields(
                chance.choice(["kim@example.com", hostile(chance, 1) + "kim@example.com"]),
                hostile(chance),
                hostile(chance),
                hostile(chance),
            )
            recipient = RecipientData(UUID(int=tried), fields, datetime.now(UTC), "token", "token")
            try:
                rendered = compiled.render(recipient, eight_bit=chance.random() < 0.5)
            except NotRenderable:
                continue
            made += 1
            header = parser.parsebytes(rendered)
            assert [name for name in header if name != "Reply-To"] == [name for name in HEADER if name != "Reply-To"]
            assert unsubscribe in rendered
            assert max(map(len, rendered.split(b"\r\n"))) <= 998
            assert rendered.count(b"\r") == rendered.count(b"\n") == rendered.count(b"\r\n")
    assert made > 1000
