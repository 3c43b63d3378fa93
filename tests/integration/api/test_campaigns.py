"""Campaigns over HTTP: create, read, list, change, delete, duplicate, preview."""

import dataclasses
import json
from datetime import datetime
from typing import Any

import httpx
import pytest

from marketing_service.api.app import create_app
from marketing_service.bootstrap import Resources
from marketing_service.db import Database
from marketing_service.languages import Language
from marketing_service.store import campaigns
from tests.integration.api.support import (
    BROKEN,
    CAMPAIGNS,
    MESSAGE,
    Crm,
    assert_problem,
    client_of,
    path,
    saved,
    token,
)
from tests.support.ledger import launched

FIELDS = [
    "id",
    "name",
    "fromName",
    "fromEmail",
    "replyTo",
    "subject",
    "preheader",
    "htmlBody",
    "textBody",
    "audience",
    "trackClicks",
    "language",
    "status",
    "failureReason",
    "scheduledAt",
    "scheduledTimeZone",
    "scheduleProblem",
    "launchedAt",
    "expandedAt",
    "sentAt",
    "pausedAt",
    "pauseReason",
    "pauseMessage",
    "cancelledAt",
    "createdBy",
    "createdAt",
    "updatedAt",
    "version",
    "stats",
]


async def test_a_draft_is_saved_with_its_address_and_version(admin: httpx.AsyncClient) -> None:
    response = await admin.post(CAMPAIGNS, json=MESSAGE)
    campaign = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == path(campaign)
    assert response.headers["etag"] == '"1"'
    assert list(campaign) == FIELDS
    assert campaign["status"] == "DRAFT"
    assert campaign["audience"] == {"type": "ALL", "statuses": []}
    assert campaign["createdBy"] == "ada"
    assert campaign["stats"] == {
        "recipients": 0, "delivered": 0, "failed": 0, "unconfirmed": 0, "opens": 0, "openRate": 0.0
    }  # fmt: skip
    assert datetime.fromisoformat(campaign["createdAt"]).utcoffset() is not None
    assert campaign["createdAt"].endswith("Z")
    read = await admin.get(path(campaign))
    assert read.json() == campaign
    assert read.headers["etag"] == '"1"'


async def test_every_field_is_kept_as_it_was_written(admin: httpx.AsyncClient) -> None:
    message = {
        "name": "Zoë's “big” news",
        "subject": "Hello {{ firstName | default: 'there' }}, 50 % off",
        "fromName": "Ocean & Sons",
        "fromEmail": "news@acme.example",
        "replyTo": "answers@acme.example",
        "htmlBody": "<p>Hello\n\t{{firstName}} <b>東京</b></p>",
        "textBody": "Hello {{firstName}}",
        "audience": {"type": "BY_STATUS", "statuses": ["CUSTOMER", "LEAD"]},
        "language": "fr",
        "preheader": "2+2=? For {{ firstName | default: 'you' }} & “all”",
    }
    campaign = await saved(admin, **message)
    assert {name: campaign[name] for name in message} == message


async def test_a_viewer_reads_and_writes_nothing(admin: httpx.AsyncClient, viewer: httpx.AsyncClient) -> None:
    campaign = await saved(admin)
    for suffix in ("", "/stats", "/preview", "/sends", "/sends.csv"):
        assert (await viewer.get(path(campaign, suffix))).status_code == 200
    assert_problem(await viewer.post(CAMPAIGNS, json=MESSAGE), 403, "role")
    assert_problem(await viewer.patch(path(campaign), json={"name": "x"}), 403, "role")
    assert_problem(await viewer.delete(path(campaign)), 403, "role")
    for verb in ("launch", "pause", "resume", "cancel", "duplicate"):
        assert_problem(await viewer.post(path(campaign, f"/{verb}")), 403, "role")
    assert_problem(await viewer.post(path(campaign, "/test"), json={"to": ["a@b.example"]}), 403, "role")


async def test_without_a_valid_token_every_request_is_refused(anonymous: httpx.AsyncClient) -> None:
    for headers in ({}, {"Authorization": "Bearer rubbish"}, {"Authorization": "Basic YTpi"}):
        response = await anonymous.get(CAMPAIGNS, headers=headers)
        assert_problem(response, 401, "unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"


class TestList:
    async def test_pages_are_newest_first_and_list_each_campaign_once(self, admin: httpx.AsyncClient) -> None:
        names = [(await saved(admin, name=f"Number {n}"))["name"] for n in range(7)]
        found, query = [], {"limit": 3}
        while True:
            page = (await admin.get(CAMPAIGNS, params=query)).json()
            found += [campaign["name"] for campaign in page["items"]]
            assert len(page["items"]) <= 3
            if page["nextCursor"] is None:
                break
            query |= {"cursor": page["nextCursor"]}
        assert found == names[::-1]

    async def test_an_empty_list_ends_at_once(self, admin: httpx.AsyncClient) -> None:
        assert (await admin.get(CAMPAIGNS)).json() == {"items": [], "nextCursor": None}

    async def test_a_repeated_status_selects_any_of_them(self, admin: httpx.AsyncClient, owner: Database) -> None:
        draft = await saved(admin)
        sending = await launched(owner)

        async def ids(query: str) -> set[str]:
            return {item["id"] for item in (await admin.get(f"{CAMPAIGNS}?{query}")).json()["items"]}

        assert await ids("status=DRAFT") == {draft["id"]}
        assert await ids("status=SENDING") == {str(sending)}
        assert await ids("status=DRAFT&status=SENDING") == {draft["id"], str(sending)}
        assert await ids("status=SENT&status=FAILED") == set()

    async def test_q_is_a_prefix_in_any_case_and_no_pattern(self, admin: httpx.AsyncClient) -> None:
        for name in ("50% off", "50 percent", "Élan", "under_score", "underXscore", "back\\slash", "a/b"):
            await saved(admin, name=name)

        async def names(prefix: str) -> list[str]:
            return [i["name"] for i in (await admin.get(CAMPAIGNS, params={"q": prefix})).json()["items"]]

        assert await names("50%") == ["50% off"]
        assert await names("UNDER_") == ["under_score"]
        assert await names("éL") == ["Élan"]
        assert await names("back\\") == ["back\\slash"]
        assert await names("a/") == ["a/b"]
        assert await names("percent") == []
        assert len(await names("")) == 7

    async def test_a_page_of_large_campaigns_ends_early_and_nothing_is_missed(
        self, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(campaigns, "PAGE_BYTES", 1000)
        for n in range(5):
            await saved(admin, name=str(n), htmlBody="x" * (10 if n < 3 else 900))
        found, cursor, sizes = [], None, []
        while True:
            page = (await admin.get(CAMPAIGNS, params={"cursor": cursor} if cursor else {})).json()
            found += [campaign["name"] for campaign in page["items"]]
            sizes.append(len(page["items"]))
            if (cursor := page["nextCursor"]) is None:
                break
        assert found == ["4", "3", "2", "1", "0"]
        assert sizes == [2, 3]


class TestChange:
    async def test_a_missing_field_stays_and_null_clears_it(self, admin: httpx.AsyncClient) -> None:
        campaign = await saved(admin, fromName="Acme", replyTo="a@acme.example", textBody="Hi")
        response = await admin.patch(path(campaign), json={"subject": "New", "fromName": None, "textBody": None})
        changed = response.json()
        assert response.status_code == 200
        assert response.headers["etag"] == '"2"'
        assert (changed["subject"], changed["fromName"], changed["textBody"]) == ("New", None, None)
        kept = ("name", "fromEmail", "replyTo", "htmlBody", "audience", "createdAt", "createdBy")
        assert all(changed[name] == campaign[name] for name in kept)
        assert changed["version"] == 2
        assert (await admin.get(path(campaign))).json() == changed

    async def test_the_audience_is_replaced_whole(self, admin: httpx.AsyncClient) -> None:
        campaign = await saved(admin, audience={"type": "BY_STATUS", "statuses": ["LEAD", "CUSTOMER"]})
        audience = {"type": "BY_STATUS", "statuses": ["PROSPECT"]}
        changed = (await admin.patch(path(campaign), json={"audience": audience})).json()
        assert changed["audience"] == audience
        changed = (await admin.patch(path(campaign), json={"audience": {"type": "ALL"}})).json()
        assert changed["audience"] == {"type": "ALL", "statuses": []}

    async def test_nothing_to_change_changes_nothing(self, admin: httpx.AsyncClient) -> None:
        campaign = await saved(admin)
        assert (await admin.patch(path(campaign), json={})).json() == campaign

    @pytest.mark.parametrize("field", ["name", "subject", "fromEmail", "audience"])
    async def test_a_required_field_cannot_be_cleared(self, admin: httpx.AsyncClient, field: str) -> None:
        campaign = await saved(admin)
        assert_problem(await admin.patch(path(campaign), json={field: None}), 422, "invalid-input", field)
        assert (await admin.get(path(campaign))).json() == campaign

    async def test_only_a_draft_is_editable(self, admin: httpx.AsyncClient, owner: Database) -> None:
        campaign_id = await launched(owner)
        problem = assert_problem(await admin.patch(path(campaign_id), json={"name": "x"}), 409, "wrong-state")
        assert "SENDING" in problem["detail"]

    async def test_a_stale_version_is_refused(self, admin: httpx.AsyncClient) -> None:
        campaign = await saved(admin)
        await admin.patch(path(campaign), json={"name": "Two"}, headers={"If-Match": '"1"'})
        for stale in ('"1"', 'W/"2"', '"1", W/"2"'):
            response = await admin.patch(path(campaign), json={"name": "x"}, headers={"If-Match": stale})
            assert_problem(response, 412, "stale-version")
        for version, current in enumerate(('"2"', "*", '"1", "4"'), start=3):
            response = await admin.patch(path(campaign), json={"name": "x"}, headers={"If-Match": current})
            assert response.json()["version"] == version
        response = await admin.patch(path(campaign), json={"name": "x"}, headers={"If-Match": "5"})
        assert_problem(response, 422, "invalid-input", "If-Match")


class TestDelete:
    async def test_a_draft_is_gone(self, admin: httpx.AsyncClient) -> None:
        campaign = await saved(admin)
        response = await admin.delete(path(campaign))
        assert (response.status_code, response.content) == (204, b"")
        assert_problem(await admin.get(path(campaign)), 404, "not-found")
        assert_problem(await admin.delete(path(campaign)), 404, "not-found")

    async def test_a_launched_campaign_cannot_be_deleted(self, admin: httpx.AsyncClient, owner: Database) -> None:
        assert_problem(await admin.delete(path(await launched(owner))), 409, "wrong-state")

    async def test_a_stale_version_is_kept(self, admin: httpx.AsyncClient) -> None:
        campaign = await saved(admin)
        assert_problem(await admin.delete(path(campaign), headers={"If-Match": '"9"'}), 412, "stale-version")
        assert (await admin.delete(path(campaign), headers={"If-Match": '"1"'})).status_code == 204


class TestLanguage:
    async def test_a_draft_without_one_gets_the_default_of_the_installation(
        self, resources: Resources, admin: httpx.AsyncClient
    ) -> None:
        assert (await saved(admin))["language"] == "en"
        rules = dataclasses.replace(resources.campaign_rules, default_language=Language.DE)
        app = create_app(dataclasses.replace(resources, campaign_rules=rules))
        async with client_of(app, token()) as client:
            campaign = await saved(client)
            assert campaign["language"] == "de"
            assert (await saved(client, language=None))["language"] == "de"
        assert (await admin.patch(path(campaign), json={"subject": "x"})).json()["language"] == "de"

    async def test_it_can_be_changed_to_a_known_language_only(self, admin: httpx.AsyncClient) -> None:
        campaign = await saved(admin, language="fr")
        assert (await admin.patch(path(campaign), json={"language": "es"})).json()["language"] == "es"
        for value in ("it", "DE", "de-AT", "", None, 1):
            assert_problem(
                await admin.patch(path(campaign), json={"language": value}), 422, "invalid-input", "language"
            )
        assert_problem(await admin.post(CAMPAIGNS, json=MESSAGE | {"language": "it"}), 422, "invalid-input", "language")


async def test_null_removes_the_preheader(admin: httpx.AsyncClient) -> None:
    campaign = await saved(admin, preheader="Read {{ firstName }}")
    changed = (await admin.patch(path(campaign), json={"preheader": "Read this"})).json()
    assert changed["preheader"] == "Read this"
    assert (await admin.patch(path(campaign), json={"preheader": None})).json()["preheader"] is None
    assert_problem(await admin.patch(path(campaign), json={"preheader": "{{ x }}"}), 422, "invalid-input", "preheader")


class TestDuplicate:
    async def test_the_same_message_and_audience_in_a_new_draft(
        self, admin: httpx.AsyncClient, owner: Database
    ) -> None:
        original = (await admin.get(path(await launched(owner, language="es", preheader="Read this")))).json()
        response = await admin.post(path(original, "/duplicate"))
        copy = response.json()
        assert response.status_code == 201
        assert response.headers["location"] == path(copy)
        assert (copy["status"], copy["version"], copy["createdBy"]) == ("DRAFT", 1, "ada")
        assert copy["name"] == "Copy of April newsletter"
        same = (
            "subject",
            "fromName",
            "fromEmail",
            "replyTo",
            "htmlBody",
            "textBody",
            "audience",
            "language",
            "preheader",
        )
        assert all(copy[name] == original[name] for name in same)
        assert copy["stats"]["recipients"] == 0

    async def test_a_long_name_still_fits(self, admin: httpx.AsyncClient) -> None:
        copy = (await admin.post(path(await saved(admin, name="n" * 200), "/duplicate"))).json()
        assert copy["name"] == "Copy of " + "n" * 192


class TestPreview:
    async def test_the_sample_and_a_contact(self, admin: httpx.AsyncClient, crm: Crm) -> None:
        campaign = await saved(admin, htmlBody="<p>Hello {{firstName}} {{email}}</p>")
        contact = crm.contacts.fixed_contacts("acme")[0]
        sample = (await admin.get(path(campaign, "/preview"))).json()
        assert sample.keys() == {"subject", "html", "text"}
        response = await admin.get(path(campaign, "/preview"), params={"contactId": contact.id})
        assert response.json()["subject"] == f"Hello {contact.first_name}"
        assert contact.email is not None
        assert contact.email in response.json()["html"]
        assert contact.email not in sample["html"]
        assert "/pixel/" not in response.text
        assert "/unsubscribe/" not in response.text

    async def test_no_such_contact(self, admin: httpx.AsyncClient) -> None:
        response = await admin.get(path(await saved(admin), "/preview"), params={"contactId": "nobody"})
        assert_problem(response, 404, "not-found")

    async def test_the_crm_is_down(self, admin: httpx.AsyncClient, crm: Crm) -> None:
        campaign = await saved(admin)
        crm.status = BROKEN
        assert (await admin.get(path(campaign, "/preview"))).status_code == 200
        response = await admin.get(path(campaign, "/preview"), params={"contactId": "c1"})
        assert_problem(response, 503, "unavailable")
        assert int(response.headers["retry-after"]) > 0

    @pytest.mark.parametrize("body", [None, "", " \n"])
    async def test_without_a_body_there_is_no_preview(self, admin: httpx.AsyncClient, body: str | None) -> None:
        campaign = await saved(admin, htmlBody=body)
        assert_problem(await admin.get(path(campaign, "/preview")), 422, "invalid-input", "htmlBody")


class TestAudience:
    async def test_a_status_the_crm_does_not_know_is_named(self, admin: httpx.AsyncClient) -> None:
        audience = {"type": "BY_STATUS", "statuses": ["LEAD", "PALE", "CUSTOMER", "GONE"]}
        response = await admin.post(CAMPAIGNS, json=MESSAGE | {"audience": audience})
        problem = assert_problem(response, 422, "invalid-input", "audience.statuses[1]", "audience.statuses[3]")
        assert problem["errors"][0]["code"] == "unknown-status"
        assert (await admin.get(CAMPAIGNS)).json()["items"] == []

    async def test_with_the_crm_down_only_an_audience_of_all_can_be_saved(
        self, admin: httpx.AsyncClient, crm: Crm
    ) -> None:
        crm.status = BROKEN
        audience = {"type": "BY_STATUS", "statuses": ["LEAD"]}
        response = await admin.post(CAMPAIGNS, json=MESSAGE | {"audience": audience})
        assert_problem(response, 503, "unavailable")
        assert int(response.headers["retry-after"]) > 0
        campaign = await saved(admin)
        assert_problem(await admin.patch(path(campaign), json={"audience": audience}), 503, "unavailable")
        assert (await admin.patch(path(campaign), json={"name": "Other"})).status_code == 200

    async def test_a_crm_that_refuses_the_request_is_unavailable(self, admin: httpx.AsyncClient, crm: Crm) -> None:
        crm.status = 401
        assert_problem(await admin.get("/api/marketing/contact-statuses"), 503, "unavailable")

    async def test_the_statuses_come_from_the_crm(self, admin: httpx.AsyncClient) -> None:
        items = (await admin.get("/api/marketing/contact-statuses")).json()["items"]
        assert [item["value"] for item in items] == ["LEAD", "PROSPECT", "CUSTOMER", "CHURNED"]
        assert all(item["label"] for item in items)

    async def test_a_status_named_twice_counts_once(self, admin: httpx.AsyncClient) -> None:
        campaign = await saved(admin, audience={"type": "BY_STATUS", "statuses": ["LEAD", "LEAD"]})
        assert campaign["audience"]["statuses"] == ["LEAD"]


async def test_every_form_of_json_is_accepted(admin: httpx.AsyncClient) -> None:
    """Escapes, spaces, a charset in the media type."""
    body = json.dumps(MESSAGE | {"name": "Zoë"}, indent=2, ensure_ascii=True).encode()
    headers = {"Content-Type": "application/json; charset=utf-8"}
    response = await admin.post(CAMPAIGNS, content=body, headers=headers)
    assert response.json()["name"] == "Zoë"


async def test_the_overview_counts_the_campaigns_of_the_organisation(
    admin: httpx.AsyncClient, stranger: httpx.AsyncClient, owner: Database
) -> None:
    empty: dict[str, Any] = {
        "total": 0, "draft": 0, "sending": 0, "sent": 0, "failed": 0, "averageOpenRate": 0.0
    }  # fmt: skip
    assert (await admin.get("/api/marketing/stats")).json() == empty
    await saved(admin)
    await launched(owner)
    await launched(owner, 0)
    assert (await admin.get("/api/marketing/stats")).json() == empty | {
        "total": 3, "draft": 1, "sending": 1, "sent": 1
    }  # fmt: skip
    assert (await stranger.get("/api/marketing/stats")).json() == empty
