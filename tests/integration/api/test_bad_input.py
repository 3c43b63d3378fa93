"""Invalid input gets a 4xx problem that names the field, and changes nothing."""

import json
from typing import Any

import httpx
import pytest

from marketing_service.devstack.postgres import PostgresServer
from tests.integration.api.support import CAMPAIGNS, MESSAGE, assert_problem, path, saved

UNKNOWN_ID = "01970000-0000-7000-8000-000000000001"
BIG = 1_000_001
_JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def database_url(postgres: PostgresServer, template: str) -> str:
    """One database for the whole module: these tests leave no data that affects another test."""
    postgres.create_database("bad_input", template=template)
    return postgres.url("bad_input")


def _encoded(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": 7}, "name"),
        ({"name": ["a"]}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "nul\0"}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"name": "=?utf-8?q?x?="}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"subject": None}, "subject"),
        ({"subject": ""}, "subject"),
        ({"subject": "x\r\nBcc: all@example.com"}, "subject"),
        ({"subject": "=?UTF-8?Q?=0A?=Bcc: x"}, "subject"),
        ({"subject": "x" * 501}, "subject"),
        ({"subject": "Hello {{firstname}}"}, "subject"),
        ({"fromName": "Acme\r\nBcc: x"}, "fromName"),
        ({"fromName": "\x07"}, "fromName"),
        ({"fromName": "x" * 201}, "fromName"),
        ({"fromEmail": ""}, "fromEmail"),
        ({"fromEmail": "nobody"}, "fromEmail"),
        ({"fromEmail": "a@b@c.example"}, "fromEmail"),
        ({"fromEmail": "a@localhost"}, "fromEmail"),
        ({"fromEmail": "a b@acme.example"}, "fromEmail"),
        ({"fromEmail": "Ada <ada@acme.example>"}, "fromEmail"),
        ({"fromEmail": "ada@acme.example\r\nBcc: x@y.example"}, "fromEmail"),
        ({"fromEmail": "zoë@acme.example"}, "fromEmail"),
        ({"fromEmail": "x" * 250 + "@acme.example"}, "fromEmail"),
        ({"replyTo": "nobody"}, "replyTo"),
        ({"replyTo": "a@acme.example, b@acme.example"}, "replyTo"),
        ({"htmlBody": "x" * BIG}, "htmlBody"),
        ({"htmlBody": "é" * (BIG // 2 + 1)}, "htmlBody"),
        ({"textBody": "x" * BIG}, "textBody"),
        ({"htmlBody": "nul\0"}, "htmlBody"),
        ({"textBody": "bell\x07"}, "textBody"),
        ({"htmlBody": "<p>{{ firstName"}, "htmlBody"),
        ({"htmlBody": "{% if firstName %}"}, "htmlBody"),
        ({"textBody": "{{ password }}"}, "textBody"),
        ({"htmlBody": "{% include 'x' %}"}, "htmlBody"),
        ({"audience": None}, "audience"),
        ({"audience": "ALL"}, "audience"),
        ({"audience": {}}, "audience"),
        ({"audience": {"type": "SOME"}}, "audience"),
        ({"audience": {"type": "ALL", "statuses": ["LEAD"]}}, "audience.statuses"),
        ({"audience": {"type": "BY_STATUS"}}, "audience.statuses"),
        ({"audience": {"type": "BY_STATUS", "statuses": []}}, "audience.statuses"),
        ({"audience": {"type": "BY_STATUS", "statuses": "LEAD"}}, "audience.statuses"),
        ({"audience": {"type": "BY_STATUS", "statuses": ["LEAD", 7]}}, "audience.statuses[1]"),
        ({"audience": {"type": "BY_STATUS", "statuses": ["LEAD", "x\0"]}}, "audience.statuses[1]"),
        ({"audience": {"type": "BY_STATUS", "statuses": ["LEAD"], "tags": []}}, "audience.tags"),
        ({"colour": "red"}, "colour"),
        ({"from_email": "a@acme.example"}, "from_email"),
        ({"id": UNKNOWN_ID}, "id"),
        ({"status": "SENT"}, "status"),
        ({"scheduledAt": None}, "scheduledAt"),
        ({"stats": {}}, "stats"),
        ({"version": 10**400}, "version"),
    ],
    ids=lambda value: ascii(value)[:60],
)
async def test_a_wrong_field_is_named_and_nothing_is_saved(
    admin: httpx.AsyncClient, changes: dict[str, Any], field: str
) -> None:
    before = (await admin.get(CAMPAIGNS)).json()
    response = await admin.post(CAMPAIGNS, content=_encoded(MESSAGE | changes), headers=_JSON)
    problem = assert_problem(response, 422, "invalid-input", field)
    assert problem["errors"][0]["code"]
    assert problem["errors"][0]["message"]
    assert (await admin.get(CAMPAIGNS)).json() == before

    if changes != {"audience": None}:
        campaign = await saved(admin)
        changed = await admin.patch(path(campaign), content=_encoded(changes), headers=_JSON)
        assert_problem(changed, 422, "invalid-input", field)
        assert (await admin.get(path(campaign))).json() == campaign


async def test_every_wrong_field_is_named_at_once(admin: httpx.AsyncClient) -> None:
    wrong = {"name": "=?", "fromEmail": "y", "subject": "{{ x }}", "htmlBody": "\0"}
    response = await admin.post(CAMPAIGNS, json=MESSAGE | wrong)
    assert_problem(response, 422, "invalid-input", *wrong)


async def test_missing_fields_are_named(admin: httpx.AsyncClient) -> None:
    problem = assert_problem(await admin.post(CAMPAIGNS, json={}), 422, "invalid-input", "name", "subject")
    assert {error["code"] for error in problem["errors"]} == {"required"}


async def test_a_template_error_says_where(admin: httpx.AsyncClient) -> None:
    response = await admin.post(CAMPAIGNS, json=MESSAGE | {"htmlBody": "<p>\n  {{ pasword }}</p>"})
    (error,) = assert_problem(response, 422, "invalid-input", "htmlBody")["errors"]
    assert error["code"] == "template"
    assert "line 2" in error["message"]


async def test_read_only_and_unknown_are_told_apart(admin: httpx.AsyncClient) -> None:
    response = await admin.post(CAMPAIGNS, json=MESSAGE | {"version": 2, "colour": "red"})
    codes = {error["field"]: error["code"] for error in response.json()["errors"]}
    assert codes == {"version": "read-only", "colour": "unknown"}


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"nope", b'{"name": "\xff"}', b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b"{'a': 1}"],
    ids=lambda body: repr(body[:12]),
)
async def test_invalid_json_is_400_or_names_the_body(admin: httpx.AsyncClient, body: bytes) -> None:
    response = await admin.post(CAMPAIGNS, content=body, headers=_JSON)
    if body:
        assert_problem(response, 400, "unparsable")
    else:
        assert_problem(response, 422, "invalid-input", "body")


@pytest.mark.parametrize("body", [b"[]", b"7", b"null", b'"text"'])
async def test_json_that_is_not_an_object_is_422(admin: httpx.AsyncClient, body: bytes) -> None:
    assert_problem(await admin.post(CAMPAIGNS, content=body, headers=_JSON), 422, "invalid-input", "body")


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_the_content_type_must_be_json(admin: httpx.AsyncClient, media_type: str | None) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    response = await admin.post(CAMPAIGNS, content=json.dumps(MESSAGE).encode(), headers=headers)
    assert "application/json" in assert_problem(response, 400, "unparsable")["detail"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("limit=" + "9" * 30, "limit"),
        ("limit=" + "9" * 6000, "limit"),
        ("cursor=made-up", "cursor"),
        ("cursor=" + "A" * 3000, "cursor"),
        ("cursor=", "cursor"),
        ("status=GONE", "status[0]"),
        ("status=SENDING&status=draft", "status[1]"),
        ("q=nul%00", "q"),
        ("q=" + "x" * 300, "q"),
        ("colour=red", "colour"),
        ("Limit=3", "Limit"),
    ],
)
async def test_a_wrong_query_parameter_is_named(admin: httpx.AsyncClient, query: str, field: str) -> None:
    assert_problem(await admin.get(f"{CAMPAIGNS}?{query}"), 422, "invalid-input", field)
    sends = path(await saved(admin), "/sends")
    assert_problem(await admin.get(f"{sends}?{query}"), 422, "invalid-input", field)


async def test_the_csv_has_no_pages(admin: httpx.AsyncClient) -> None:
    response = await admin.get(path(await saved(admin), "/sends.csv?limit=3"))
    assert_problem(response, 422, "invalid-input", "limit")


async def test_every_route_refuses_unknown_query_parameters(admin: httpx.AsyncClient) -> None:
    campaign = await saved(admin)
    calls = [
        ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/stats"), ("GET", "/preview"), ("GET", "/sends"),
        ("GET", "/sends.csv"), ("POST", "/launch"), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/cancel"),
        ("POST", "/duplicate"), ("POST", "/test"), ("POST", f"/sends/{UNKNOWN_ID}/resend"),
    ]  # fmt: skip
    for method, suffix in calls:
        json_body = {"PATCH": {}, "POST": {"to": ["a@b.example"]} if suffix == "/test" else None}.get(method)
        response = await admin.request(method, path(campaign, suffix) + "?really=yes", json=json_body)
        assert_problem(response, 422, "invalid-input", "really")
    for address in ("/api/marketing/stats", "/api/marketing/contact-statuses"):
        assert_problem(await admin.get(address + "?really=yes"), 422, "invalid-input", "really")


@pytest.mark.parametrize("wrong", ["1", "x", "%00", "01970000-0000-7000-8000-00000000000g", "🙂", "9" * 400])
async def test_a_malformed_id_is_422(admin: httpx.AsyncClient, wrong: str) -> None:
    assert_problem(await admin.get(f"{CAMPAIGNS}/{wrong}"), 422, "invalid-input", "id")
    assert_problem(await admin.post(f"{CAMPAIGNS}/{wrong}/launch"), 422, "invalid-input", "id")
    resend = f"{CAMPAIGNS}/{UNKNOWN_ID}/sends/{wrong}/resend"
    assert_problem(await admin.post(resend), 422, "invalid-input", "sendId")


async def test_an_unknown_id_is_404(admin: httpx.AsyncClient) -> None:
    for suffix in ("", "/stats", "/preview", "/sends", "/sends.csv"):
        assert_problem(await admin.get(f"{CAMPAIGNS}/{UNKNOWN_ID}{suffix}"), 404, "not-found")


@pytest.mark.parametrize("contact", ["nul%00", "x" * 65, ""])
async def test_a_malformed_contact_is_422(admin: httpx.AsyncClient, contact: str) -> None:
    response = await admin.get(path(await saved(admin), f"/preview?contactId={contact}"))
    assert_problem(response, 422, "invalid-input", "contactId")


@pytest.mark.parametrize(
    ("to", "field"),
    [
        ([], "to"),
        ([f"a{n}@b.example" for n in range(6)], "to"),
        (["a@b.example", "nobody"], "to[1]"),
        (["a@b.example", 7], "to[1]"),
        ("a@b.example", "to"),
        (None, "to"),
    ],
)
async def test_the_recipients_of_a_test_are_checked(admin: httpx.AsyncClient, to: Any, field: str) -> None:
    response = await admin.post(path(await saved(admin), "/test"), json={"to": to})
    assert_problem(response, 422, "invalid-input", field)


async def test_a_launch_option_must_be_known(admin: httpx.AsyncClient) -> None:
    campaign = await saved(admin)
    assert_problem(await admin.post(path(campaign, "/launch"), json={"hurry": True}), 422, "invalid-input", "hurry")
    for odd in ("true", 1, None):
        assert_problem(await admin.post(path(campaign, "/launch"), json={"force": odd}), 422, "invalid-input", "force")
    unknown = {"audience": {"type": "BY_STATUS", "statuses": ["PALE"]}}
    response = await admin.post(path(campaign, "/launch"), json=unknown)
    assert_problem(response, 422, "invalid-input", "audience.statuses[0]")
    assert (await admin.get(path(campaign))).json() == campaign
