"""A damaged path becomes the path that was mailed. Only a valid token of one send makes it a link."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote
from uuid import UUID

import pytest

from marketing_service.api.damaged_links import DamagedLinks
from marketing_service.tokens import MAX_TEXT, Purpose, TokenKeyring

keyring = TokenKeyring([b"k" * 32])
links = DamagedLinks(keyring)
SEND, OTHER = UUID("0190f1f2-7c1d-7b3a-9a55-0123456789ab"), UUID("0190f1f2-7c1d-7b3a-9a55-0123456789ac")
TOKEN, OTHER_TOKEN = (keyring.issue(Purpose.UNSUBSCRIBE, send) for send in (SEND, OTHER))
BEFORE = "/api/marketing/unsubscribe/"
INVALID = f"{BEFORE}-"
UNSUBSCRIBE = BEFORE + TOKEN
PIXEL = f"/api/marketing/pixel/{keyring.issue(Purpose.OPEN, SEND)}.gif"
CLICK_TOKEN = keyring.issue(Purpose.CLICK, SEND)
CLICK = f"/api/marketing/click/{CLICK_TOKEN}/12"
CLICK_BEFORE = "/api/marketing/click/"


@pytest.mark.parametrize("path", [UNSUBSCRIBE, CLICK, PIXEL, "/api/marketing/campaigns", "/", "", "*"])
def test_other_paths_stay_as_they_are(path: str) -> None:
    scope = {"type": "http", "path": path, "raw_path": path.encode()}
    assert links.repaired(scope) is scope


@pytest.mark.parametrize(
    "damaged",
    [
        "U.", "U,", "U)", "U>", "U%3E", "U ", "U=", "U=\n", "U\u00a0", "U\u200b", "U/", "U&amp;utm=1", "U;x=1", "U'",
        "U*",
        "U]]", "U&quot;", "U%7D", "U\u2026", "U\u3092\u3054\u89a7", "U) click here to unsubscribe", "UAAAA", "U_",
        "U/pixel",
        "/en-GBU", "/enU", "/U", "https://mail.example.comU", "UU", "U/U", "/redirect/https://mail.example.comU",
        "/click?to=U",
    ],
)  # fmt: skip
def test_signs_around_an_unsubscribe_link_are_removed(damaged: str) -> None:
    assert links.path(damaged.replace("U", UNSUBSCRIBE)) == UNSUBSCRIBE


@pytest.mark.parametrize(
    "before",
    [
        "/api/marketing/unsubscribe/3D", '/api/marketing/unsubscribe/"', "/api/marketing/unsubscribe//",
        "/api/marketing/unsubscribe\\", "/api/marketing/unsubscribe%2F", "/api/marketing/unsubscribe%252f",
        "//api//marketing//unsubscribe//", "/API/Marketing/Unsubscribe/", "/api/marketing/unsub=\r\nscribe/",
        "/api/marketing/unsub scribe/", "/api/marketing/=\nunsubscribe/", "/unsubscribe/", "/x/unsubscribe/x/",
        "/api/marketing/unsubscribe/../unsubscribe/", "/api/marketing/unsubscribe=2F",
        "/api/marketing/unsubscribe&#47;",
    ],
)  # fmt: skip
def test_the_fixed_part_of_a_path_may_be_damaged_too(before: str) -> None:
    assert links.path(before + TOKEN) == UNSUBSCRIBE


@pytest.mark.parametrize(
    "damaged",
    [
        "C.", "C ", "C)", "C/", "C//x", "C/https://evil.example", "C&amp;u=1", "C=", "C=\n", "C_", "C\\", "C\u3092",
        "C\u2026",
        "C>click", "C%22", "C-", "C=20",
        "/api/marketing/click/T=\r\n/12", "/api/marketing/click/T/=\n12", "/api/marketing/click/T/1=\n2",
        "/api/marketing/click/T//12", "/api/marketing/click/3DT/12", "/api/marketing/click/T\\12",
        "/api/marketing/click/T%2F12", "/api/marketing/click/T%252F12.", "/api/marketing/click/T3D/12",
    ],
)  # fmt: skip
def test_a_tracked_link_keeps_its_number(damaged: str) -> None:
    assert links.path(re.sub("C(?![a-z])", CLICK, damaged).replace("T", CLICK_TOKEN)) == CLICK


@pytest.mark.parametrize(
    "number", ["", "0", "01", "-1", "1.0", "1.5", "9" * 400, "x", "1\0", "1st", "https:evil.example"]
)
def test_a_number_that_no_message_has_stays_invalid(number: str) -> None:
    assert links.path(f"{CLICK_BEFORE}{CLICK_TOKEN}/{number}") == f"{CLICK_BEFORE}{CLICK_TOKEN}/-"


@pytest.mark.parametrize(
    "damaged", ['P"', "P ", "P/", "P=20", "P.gif", "/api/marketing/pixel/3DT.gif", "/api/marketing/pixel/T", "/enP"]
)
def test_a_pixel_is_repaired_too(damaged: str) -> None:
    token = keyring.issue(Purpose.OPEN, SEND)
    assert links.path(damaged.replace("P", PIXEL).replace("T", token)) == PIXEL


@pytest.mark.parametrize(
    "path",
    [
        BEFORE,
        f"{BEFORE}{TOKEN[:-1]}/",
        f"{BEFORE}{TOKEN}/{OTHER_TOKEN}",
        f"{BEFORE}{TOKEN}{OTHER_TOKEN}",
        f'{BEFORE}"{OTHER_TOKEN}" {TOKEN[:20]}=\n{TOKEN[20:]}',
        f"{BEFORE}{keyring.issue(Purpose.OPEN, SEND)}.",
        f"{BEFORE}{keyring.issue(Purpose.CLICK, SEND)}.",
        f"{BEFORE}{keyring.issue(Purpose.BOUNCE, SEND)}.",
        f"{BEFORE}{TOKEN}{'.' * MAX_TEXT}",
        f"{BEFORE}a/b/c",
        f"{BEFORE}\n",
        # The links of two sends.
        f"{BEFORE}{OTHER_TOKEN}/api/marketing/click/{CLICK_TOKEN}/1",
    ],
)
def test_without_exactly_one_sends_token_the_path_is_invalid(path: str) -> None:
    assert links.path(path) == INVALID


def test_two_links_of_one_send_are_the_first_one() -> None:
    assert links.path(f"{UNSUBSCRIBE}){CLICK}") == UNSUBSCRIBE
    assert links.path(f"{CLICK}){UNSUBSCRIBE}") == CLICK


def test_an_invalid_link_of_each_kind_reaches_its_route() -> None:
    assert links.path(CLICK_BEFORE + "a/b/c") == f"{CLICK_BEFORE}-/-"
    assert links.path("/api/marketing/pixel/a/b") == "/api/marketing/pixel/-.gif"


def test_the_repaired_path_is_ascii_in_both_forms() -> None:
    scope = {
        "type": "http",
        "path": unquote(f"{UNSUBSCRIBE}%E2%80%A6"),
        "raw_path": quote(UNSUBSCRIBE).encode(),
        "x": 1,
    }
    assert links.repaired(scope) == {
        "type": "http", "path": UNSUBSCRIBE, "raw_path": UNSUBSCRIBE.encode(), "x": 1,
    }  # fmt: skip
