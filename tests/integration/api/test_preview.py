"""The preview of an unsaved message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.api.support import BROKEN, CAMPAIGNS, assert_problem

if TYPE_CHECKING:
    import httpx

    from tests.integration.api.support import Crm

PREVIEW = "/api/marketing/preview"


async def test_a_reader_can_preview_an_unsaved_message(viewer: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    response = await viewer.post(PREVIEW, json={"subject": "Hi {{firstName}}", "htmlBody": "<p>{{companyName}}</p>"})
    assert response.status_code == 200, response.text
    preview = response.json()
    assert preview.keys() == {"subject", "html", "text"}
    assert preview["subject"] == "Hi Alex"
    assert "<p>Sample &amp; Sons</p>" in preview["html"]
    assert preview["text"].startswith("Sample & Sons")
    assert "/pixel/" not in response.text
    assert "/unsubscribe/" not in response.text
    assert (await admin.get(CAMPAIGNS)).json()["items"] == []


async def test_it_equals_the_preview_of_the_saved_message(admin: httpx.AsyncClient) -> None:
    message = {
        "subject": "Hi {{firstName}}",
        "htmlBody": "<style>p {}</style><p>{{email}}</p>",
        "textBody": "{{email}}",
    }
    saved = await admin.post(CAMPAIGNS, json={"name": "Saved", "fromEmail": "news@acme.example", **message})
    of_the_saved = await admin.get(f"{saved.headers['location']}/preview")
    assert (await admin.post(PREVIEW, json=message)).json() == of_the_saved.json()


async def test_a_byte_order_mark_at_the_start_of_a_body_is_neither_saved_nor_shown(admin: httpx.AsyncClient) -> None:
    message = {"subject": "x", "htmlBody": "\ufeff<html><p>a\ufeffb</p></html>", "textBody": "\n\ufeffText"}
    saved = await admin.post(CAMPAIGNS, json={"name": "Saved", "fromEmail": "news@acme.example", **message})
    bodies = {"htmlBody": "<html><p>a\ufeffb</p></html>", "textBody": "\nText"}
    assert {name: saved.json()[name] for name in bodies} == bodies
    changed = await admin.patch(saved.headers["location"], json={"htmlBody": "\ufeff\ufeff<p>y</p>"})
    assert changed.json()["htmlBody"] == "<p>y</p>"
    shown = (await admin.post(PREVIEW, json=message)).json()
    assert shown["html"].startswith("<html>")
    assert shown["text"].startswith("Text")
    alone = await admin.post(PREVIEW, json={"subject": "x", "textBody": "\ufeff"})
    assert_problem(alone, 422, "invalid-input", "htmlBody")


async def test_a_body_is_enough_and_a_contact_can_be_named(viewer: httpx.AsyncClient, crm: Crm) -> None:
    ada = crm.contacts.fixed_contacts("acme")[0]
    preview = (await viewer.post(PREVIEW, json={"textBody": "Dear {{firstName}}", "contactId": ada.id})).json()
    assert preview["subject"] == ""
    assert f"Dear {ada.first_name}" in preview["text"]
    assert f"Dear {ada.first_name}" in preview["html"]


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ({}, ["htmlBody"]),
        ({"htmlBody": " ", "textBody": ""}, ["htmlBody"]),
        ({"subject": "{{ nobody }}", "htmlBody": "{% if %}", "textBody": "{{ x"}, ["subject", "htmlBody", "textBody"]),
        ({"subject": " ", "htmlBody": "x"}, ["subject"]),
        ({"htmlBody": "x", "name": "n"}, ["name"]),
        ({"htmlBody": 1}, ["htmlBody"]),
        ({"htmlBody": "a\u0000b"}, ["htmlBody"]),
    ],
)
async def test_every_wrong_field_is_named(
    viewer: httpx.AsyncClient, message: dict[str, Any], fields: list[str]
) -> None:
    assert_problem(await viewer.post(PREVIEW, json=message), 422, "invalid-input", *fields)


async def test_no_such_contact_and_no_crm(viewer: httpx.AsyncClient, crm: Crm) -> None:
    asked = {"htmlBody": "Hello", "contactId": "nobody"}
    assert_problem(await viewer.post(PREVIEW, json=asked), 404, "not-found")
    crm.status = BROKEN
    assert_problem(await viewer.post(PREVIEW, json=asked), 503, "unavailable")
    assert (await viewer.post(PREVIEW, json={"htmlBody": "Hello"})).status_code == 200


async def test_a_preview_shows_the_footer_in_the_language_of_the_message(viewer: httpx.AsyncClient) -> None:
    for language, word in {"de": "Abmelden", "fr": "Se désabonner", "es": "Darse de baja", "en": "Unsubscribe"}.items():
        preview = (await viewer.post(PREVIEW, json={"htmlBody": "<p>x</p>", "language": language})).json()
        assert f">{word}</a>" in preview["html"]
        assert word in preview["text"]
    default = (await viewer.post(PREVIEW, json={"htmlBody": "<p>x</p>", "language": None})).json()
    assert ">Unsubscribe</a>" in default["html"]


async def test_a_preview_of_a_message_with_its_own_link_appends_nothing(viewer: httpx.AsyncClient) -> None:
    message = {"htmlBody": '<p><a href="{{unsubscribeUrl}}">leave</a></p>', "textBody": "Leave: {{ unsubscribeUrl }}"}
    preview = (await viewer.post(PREVIEW, json=message)).json()
    assert preview["html"] == '<p><a href="#">leave</a></p>\n'
    assert preview["text"] == "Leave: #\n"
    for refused in (
        {"subject": "{{ unsubscribeUrl }}", "htmlBody": "x"},
        {"subject": "x{% assign unsubscribeUrl=1 %}"},
    ):
        assert_problem(await viewer.post(PREVIEW, json=refused | {"textBody": "x"}), 422, "invalid-input", "subject")


async def test_a_preview_hides_the_preheader_in_the_html_and_leaves_it_out_of_the_text(
    viewer: httpx.AsyncClient,
) -> None:
    message = {"htmlBody": "<body><p>Body</p></body>", "preheader": "For {{ firstName }} & all"}
    preview = (await viewer.post(PREVIEW, json=message)).json()
    assert preview["html"].startswith('<body><div style="display: none;')
    assert "\nFor Alex &amp; all\n" in preview["html"]
    assert "Alex" not in preview["text"]
    for wrong, code in (
        ("x" * 201, "too-long"),
        ("", "too-short"),
        (" ", "required"),
        ("a\nb", "header-text"),
        ("a\u202eb", "header-text"),
        ("{{ nobody }}", "template"),
        ("{{ unsubscribeUrl }}", "template"),
        ("{% for a in (1..100) %}{{ a" + " | upcase" * 16 + " }}{% endfor %}", "template-too-costly"),
    ):
        response = await viewer.post(PREVIEW, json=message | {"preheader": wrong})
        problem = assert_problem(response, 422, "invalid-input", "preheader")
        assert problem["errors"][0]["code"] == code, wrong
    assert (await viewer.post(PREVIEW, json=message | {"preheader": "2+2=? " + "x" * 194})).status_code == 200
