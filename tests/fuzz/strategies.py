"""Foreign text of every kind, for tests that only ask that a reader ends and raises nothing but its own errors.

Each strategy mixes parts of the format with parts that break it: purely random text rarely gets past the first check of
a reader.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import strategies as st

_ODD = (
    *("\0", "\ufeff", "\u200b", "\u202e", "\ud800", "\udfff", "\U0010ffff", "\x85", "\u2028", "\r", "\n", "\t", " "),
    *(
        "İ",
        "ß",
        "ﬀ",
        "é" * 30,
        "0" * 40,
        "9" * 40,
        "a" * 300,
        "%2F",
        "%00",
        "..",
        "/",
        "\\",
        "'",
        '"',
        "`",
        "=?utf-8?q?",
    ),
)
any_text = st.text(max_size=200)
"""Any text, also with halves of surrogate pairs."""


def mixed(*parts: str, repeat: int = 30) -> st.SearchStrategy[str]:
    """Texts made of these parts, of odd characters, and of anything. Some parts are repeated many times."""
    piece = st.one_of(st.sampled_from(parts), st.sampled_from(_ODD), st.text(max_size=8))
    many = st.builds(lambda part, times: part * times, st.sampled_from(parts), st.integers(1, 200))
    return st.lists(st.one_of(piece, piece, piece, many), max_size=repeat).map("".join)


def octets(text: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """The texts in UTF-8, and any octets."""
    return st.one_of(text.map(lambda value: value.encode("utf-8", "surrogatepass")), st.binary(max_size=400))


html = mixed(
    *(
        "<",
        ">",
        "</",
        "/>",
        "<a ",
        "href=",
        "<a href='https://x.example/?a=1&amp;b={{ firstName }}'>",
        "</a>",
        "<img src=",
    ),
    *(
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<!DOCTYPE html>",
        "<script>",
        "</script>",
        "<style>",
        "</style>",
        "<p>",
        "</p>",
    ),
    *("<ul><li>", "</li></ul>", "<ol>", "<table><tr><td>", "</td>", "<blockquote>", "<br>", "<h1>", "<pre>", "<body>"),
    *(
        "&",
        "&#",
        "&#x",
        "&#99999999999;",
        "&#xD800;",
        "&amp",
        "&nbsp;",
        "{{",
        "}}",
        "{%",
        "%}",
        "<if>",
        "<x-",
        "=",
        "text",
    ),
)
template = mixed(
    *("{{ firstName }}", "{{ lastName | upcase }}", "{{ email | default: 'x' }}", "{{ companyName | truncate: 9 }}"),
    "<a href='{{ unsubscribeUrl }}'>",
    *(
        "{% if firstName %}",
        "{% else %}",
        "{% endif %}",
        "{% unless email %}",
        "{% endunless %}",
        "{% for i in (1..3) %}",
    ),
    *("{% for i in (1..999999999) %}", "{% endfor %}", "{% assign x = 'y' %}", "{% capture x %}", "{% endcapture %}"),
    *(
        "{% comment %}",
        "{% endcomment %}",
        "{% raw %}",
        "{% endraw %}",
        "{{",
        "}}",
        "{%",
        "%}",
        "{%-",
        "-%}",
        " | ",
        "x.y[0]",
    ),
    *(
        "{{ x | append: x }}",
        "{% case x %}",
        "{% when 1 %}",
        "{% include 'x' %}",
        "<p>",
        "</p>",
        "text",
        "1e999",
        "..",
        ":",
    ),
)
address = mixed(
    *(
        "a",
        "person",
        "@",
        "@@",
        "example.com",
        ".",
        "..",
        "-",
        "+",
        "xn--",
        "[127.0.0.1]",
        '"a b"',
        "<",
        ">",
        "(",
        ")",
        ",",
    ),
    *("bücher.example", "用户", "x" * 64, "x" * 255, "MAILTO:", "a." * 100, "%", "!", "\\"),
    repeat=8,
)
reply = octets(
    mixed(
        *(
            "250 ",
            "250-",
            "550 ",
            "550-5.1.1 ",
            "421 4.7.0 ",
            "\r\n",
            "\n",
            "4.2.2",
            "user unknown",
            "999",
            "25",
            "-",
            "x" * 600,
        )
    )
)
report = octets(
    mixed(
        *("Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n", "\r\n", "\r\n\r\n", "--b\r\n"),
        *("--b--\r\n", "Content-Type: message/delivery-status\r\n", "Content-Type: message/rfc822\r\n", "boundary="),
        *(
            "Action: failed\r\n",
            "Status: 5.1.1\r\n",
            "Final-Recipient: rfc822; a@example.com\r\n",
            "Feedback-Type: abuse\r\n",
        ),
        *(
            "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n",
            "Content-Transfer-Encoding: base64\r\n",
            "charset=utf-7",
        ),
        *(
            "From: MAILER-DAEMON@a.example\r\n",
            "Subject: Undelivered\r\n",
            "X-Failed-Recipients: a@b.example\r\n",
            ";",
            '"',
        ),
    )
)
_csv_text = mixed(
    "email",
    "note",
    "email,note\r\n",
    "email;note\n",
    "sep=;\n",
    "E-Mail\tNotiz\r",
    "\ufeff",
    "Ann <a@b.example>",
    "mailto:a@b.example",
    ",",
    ";",
    "\t",
    '"',
    '""',
    "\r\n",
    "a@b.example",
    "=1+1",
    "'=1",
)
csv = octets(_csv_text) | st.builds(
    lambda text, encoding: text.encode(encoding, "replace"),
    _csv_text,
    st.sampled_from(["utf-16", "utf-16-be", "utf-16-le", "cp1252"]),
)
json_value: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)
"""Any JSON value, also numbers that JSON has no form for: NaN and Infinity."""
_broken_json = mixed(
    '{"items": [',
    '{"id": "c"',
    "]",
    "}",
    ":",
    ",",
    '"',
    "\\u0000",
    "\\ud800",
    "[" * 50,
    "{" * 50,
    "1e999",
    "-",
    "9" * 50,
)


def json_like(shape: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """The shape with some members replaced or removed, any JSON, and text that is nearly JSON."""
    members = {
        name: st.one_of(st.just(value), json_value, st.sampled_from([2**31, 10**400, -1, "", "x" * 5000]))
        for name, value in shape.items()
    }
    near = st.fixed_dictionaries({}, optional=members)
    return st.one_of(
        near.map(lambda value: json.dumps(value).encode()),
        json_value.map(lambda value: json.dumps(value).encode()),
        octets(_broken_json),
    )


CONTACT: dict[str, Any] = {
    "id": "c-1",
    "email": "a@example.com",
    "firstName": "Ada",
    "lastName": None,
    "companyName": None,
    "status": "LEAD",
    "marketingOptOut": False,
}
contact = json_like(CONTACT)
page = json_like({"items": [CONTACT], "nextCursor": "x"})
count = json_like({"count": 1})
statuses = json_like({"items": [{"value": "LEAD", "label": "Lead"}]})
problem = json_like({"title": "No", "detail": "Because.", "message": "No"})
key_set = json_like({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "k"}]})
header = mixed(
    *('"1"', 'W/"1"', "*", ",", ";", "q=", "de", "en-GB", "0.5", "q=1e999", "Mon, 01 Jan 2024 00:00:00 GMT", "120"),
    repeat=12,
)
token = mixed(
    *("AZDx8nwdezqaVQEjRWeJq84IjLcLbCd7NCaIVCOuoY0", "A", "=", "-", "_", "b+", "@bounces.example", "."), repeat=6
)
jwt = mixed(
    *("eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJub25lIn0", ".", "..", "e30", "W10", "bnVsbA", "eyJzdWIiOjF9", "=", "AAAA"),
    repeat=8,
)
cursor = st.one_of(
    mixed("W10", "WyJsb2ciXQ", "bnVsbA", "=", "-", "A" * 50, repeat=6),
    st.lists(json_value, max_size=4).map(lambda place: base64.urlsafe_b64encode(json.dumps(place).encode()).decode()),
)
