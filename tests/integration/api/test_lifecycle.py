"""The lifecycle of a campaign over HTTP: launch, pause, resume, cancel, stats, test mails."""

import asyncio
import dataclasses
from typing import Any

import httpx
from sqlalchemy import text

from marketing_service.api.app import create_app
from marketing_service.bootstrap import Resources
from marketing_service.campaigns.rules import SenderRules
from marketing_service.db import Database
from tests.integration.api.support import BROKEN, Crm, assert_problem, client_of, path, saved, token
from tests.support.ledger import campaign_row, launched
from tests.support.steps import claim, mark, release

VERBS = ("pause", "resume", "cancel")


def with_senders(resources: Resources, senders: SenderRules) -> Resources:
    """The same resources with other rules for From addresses."""
    return dataclasses.replace(resources, campaign_rules=dataclasses.replace(resources.campaign_rules, sender=senders))


async def test_a_launch_responds_at_once_and_enqueues_the_expansion(
    admin: httpx.AsyncClient, resources: Resources
) -> None:
    campaign = await saved(admin)
    response = await admin.post(path(campaign, "/launch"))
    launched_campaign = response.json()
    assert response.status_code == 202
    assert response.headers["etag"] == '"2"'
    assert launched_campaign["status"] == "SENDING"
    assert launched_campaign["launchedAt"]
    assert launched_campaign["expandedAt"] is None
    assert launched_campaign["stats"]["recipients"] == 0
    redis = resources.job_queue._redis
    assert any(campaign["id"] in key.decode() for key in await redis.keys("arq:job:*"))


async def test_a_launch_may_bring_another_audience(admin: httpx.AsyncClient) -> None:
    audience = {"type": "BY_STATUS", "statuses": ["CUSTOMER"]}
    response = await admin.post(path(await saved(admin), "/launch"), json={"audience": audience})
    assert response.json()["audience"] == audience


async def test_only_a_draft_is_launched_and_only_once(admin: httpx.AsyncClient) -> None:
    campaign = await saved(admin)
    responses = await asyncio.gather(*(admin.post(path(campaign, "/launch")) for _ in range(10)))
    assert sorted(response.status_code for response in responses) == [202] + [409] * 9
    assert (await admin.get(path(campaign))).json()["version"] == 2


async def test_a_launch_needs_a_body(admin: httpx.AsyncClient) -> None:
    campaign = await saved(admin, htmlBody=None)
    problem = assert_problem(await admin.post(path(campaign, "/launch")), 422, "invalid-input", "htmlBody")
    assert "textBody" in problem["detail"]
    await admin.patch(path(campaign), json={"textBody": "Hello"})
    assert (await admin.post(path(campaign, "/launch"))).status_code == 202


async def test_a_launch_of_another_version_is_refused(admin: httpx.AsyncClient) -> None:
    campaign = await saved(admin)
    response = await admin.post(path(campaign, "/launch"), headers={"If-Match": '"7"'})
    assert_problem(response, 412, "stale-version")
    response = await admin.post(path(campaign, "/launch"), headers={"If-Match": '"1"'})
    assert response.status_code == 202


async def test_a_launch_checks_the_sender_again(admin: httpx.AsyncClient, resources: Resources) -> None:
    """The rules may have changed since the draft was saved."""
    campaign = await saved(admin)
    app = create_app(with_senders(resources, SenderRules(domains={"acme": ["other.example"]})))
    async with client_of(app, token()) as client:
        response = await client.post(path(campaign, "/launch"))
    assert_problem(response, 422, "invalid-input", "fromEmail")


async def test_with_the_crm_down_a_launch_without_a_new_audience_is_accepted(
    admin: httpx.AsyncClient, crm: Crm
) -> None:
    campaign = await saved(admin, audience={"type": "BY_STATUS", "statuses": ["LEAD"]})
    crm.status = BROKEN
    audience = {"audience": {"type": "BY_STATUS", "statuses": ["CUSTOMER"]}}
    assert_problem(await admin.post(path(campaign, "/launch"), json=audience), 503, "unavailable")
    assert (await admin.post(path(campaign, "/launch"))).status_code == 202


async def test_a_draft_cannot_be_paused_resumed_or_cancelled(admin: httpx.AsyncClient) -> None:
    campaign = await saved(admin)
    for verb in VERBS:
        assert_problem(await admin.post(path(campaign, f"/{verb}")), 409, "wrong-state")
    assert (await admin.get(path(campaign))).json() == campaign


async def test_pause_and_resume(admin: httpx.AsyncClient, owner: Database) -> None:
    campaign_id = await launched(owner)
    paused = await admin.post(path(campaign_id, "/pause"))
    assert paused.status_code == 200
    assert paused.json()["pausedAt"]
    assert paused.json()["pauseReason"] == "USER"
    assert paused.json()["status"] == "SENDING"
    resumed = (await admin.post(path(campaign_id, "/resume"))).json()
    assert resumed["pausedAt"] is resumed["pauseReason"] is None
    assert resumed["version"] > paused.json()["version"]


async def test_cancel_skips_the_waiting_sends(admin: httpx.AsyncClient, owner: Database) -> None:
    campaign_id = await launched(owner, 3)
    response = await admin.post(path(campaign_id, "/cancel"))
    assert response.status_code == 200
    assert response.json()["status"] == "SENT"
    assert response.json()["cancelledAt"]
    stats = (await admin.get(path(campaign_id, "/stats"))).json()
    assert (stats["recipients"], stats["skipped"], stats["queued"]) == (3, 3, 0)
    entries = (await admin.get(path(campaign_id, "/sends"))).json()["items"]
    assert {(entry["status"], entry["reason"]) for entry in entries} == {("SKIPPED", "CANCELLED")}
    for verb in VERBS:
        assert_problem(await admin.post(path(campaign_id, f"/{verb}")), 409, "wrong-state")


async def test_a_cancel_is_effective_although_the_waiting_sends_cannot_be_skipped_now(
    admin: httpx.AsyncClient, owner: Database
) -> None:
    campaign_id = await launched(owner, 3)
    async with owner.transaction() as tx:
        await tx.connection.execute(text("SELECT FROM marketing_sends FOR UPDATE"))
        response = await admin.post(path(campaign_id, "/cancel"))
        assert (response.status_code, response.json()["status"]) == (200, "SENDING")
        assert response.json()["cancelledAt"]
    row = await campaign_row(owner, campaign_id)
    assert (row["queued"], row["skipped"]) == (3, 0)
    held, waiting = await claim(owner, campaign_id)
    assert (await mark(owner, held, *waiting)).marked == {}, "no more sends are marked"
    await release(owner, held)
    # A second cancel skips them; so does the sweep.
    assert (await admin.post(path(campaign_id, "/cancel"))).json()["status"] == "SENT"


async def test_the_stats_add_up(admin: httpx.AsyncClient, owner: Database) -> None:
    campaign_id = await launched(owner, 3)
    stats: dict[str, Any] = (await admin.get(path(campaign_id, "/stats"))).json()
    assert list(stats) == [
        "status", "recipients", "queued", "sending", "deferred", "delivered", "failed", "skipped", "unconfirmed",
        "opens", "openRate", "machineOpens", "humanOpenRate", "clicks", "unsubscribes", "hardBounces", "softBounces",
    ]  # fmt: skip
    assert stats["status"] == "SENDING"
    assert stats["recipients"] == stats["queued"] == 3


async def test_during_expansion_the_stats_show_the_contacts_read(admin: httpx.AsyncClient, owner: Database) -> None:
    campaign = await saved(admin)
    assert "expanding" not in (await admin.get(path(campaign, "/stats"))).json()
    await admin.post(path(campaign, "/launch"))
    async with owner.transaction() as tx:
        await tx.connection.execute(text("UPDATE marketing_campaigns SET expansion_fetched = 1200"))
    stats = (await admin.get(path(campaign, "/stats"))).json()
    assert stats["expanding"] == {"fetched": 1200}
    assert stats["recipients"] == 0


async def test_the_open_rate_is_a_fraction_of_what_was_delivered(admin: httpx.AsyncClient, owner: Database) -> None:
    campaign_id = await launched(owner, 4)
    async with owner.transaction() as tx:
        await tx.connection.execute(
            text(
                "UPDATE marketing_campaigns SET status = 'SENT', queued = 0, delivered = 3, unconfirmed = 1,"
                " opens = 3, opens_delivered = 2, machine_opens = 1, machine_opens_delivered = 1"
            )
        )
    stats = (await admin.get(path(campaign_id, "/stats"))).json()
    assert (stats["opens"], stats["machineOpens"]) == (3, 1)
    assert (stats["openRate"], stats["humanOpenRate"]) == (2 / 3, 1 / 3)
    campaign = (await admin.get(path(campaign_id))).json()
    assert campaign["stats"] == {
        "recipients": 4, "delivered": 3, "failed": 0, "unconfirmed": 1, "opens": 3, "openRate": 2 / 3
    }  # fmt: skip
    assert (await admin.get("/api/marketing/stats")).json()["averageOpenRate"] == 2 / 3


async def test_a_failed_launch_gives_its_reason_and_can_be_deleted(admin: httpx.AsyncClient, owner: Database) -> None:
    campaign = await saved(admin)
    await admin.post(path(campaign, "/launch"))
    async with owner.transaction() as tx:
        await tx.connection.execute(
            text("UPDATE marketing_campaigns SET status = 'FAILED', failure_code = 'X', failure_message = 'Why.'")
        )
    failed = (await admin.get(path(campaign))).json()
    assert (failed["status"], failed["failureReason"]) == ("FAILED", {"code": "X", "message": "Why."})
    assert (await admin.delete(path(campaign))).status_code == 204


async def test_a_test_mail_is_requested_and_not_counted(admin: httpx.AsyncClient, owner: Database) -> None:
    campaign = await saved(admin)
    to = ["Ada@Example.com", "bob@example.com", "bob@example.com"]
    response = await admin.post(path(campaign, "/test"), json={"to": to})
    assert response.status_code == 202
    async with owner.transaction() as tx:
        row = (await tx.connection.execute(text("SELECT * FROM marketing_test_mails"))).mappings().one()
    assert row["recipients"] == ["Ada@example.com", "bob@example.com"]
    assert (row["created_by"], row["org_id"], str(row["campaign_id"])) == ("ada", "acme", campaign["id"])
    assert (await admin.get(path(campaign))).json() == campaign


async def test_a_test_mail_says_whom_it_leaves_out(admin: httpx.AsyncClient, owner: Database) -> None:
    await admin.post("/api/marketing/suppressions", json={"email": "ann@example.com"})
    async with owner.transaction() as tx:
        await tx.connection.execute(
            text(
                "INSERT INTO marketing_opt_outs (org_id, address, contact_ids, confirmed_at, due_at) VALUES"
                " ('acme', 'bob@example.com', '{}', NULL, now()), ('acme', 'cid@example.com', '{}', now(), NULL),"
                " ('globex', 'dan@example.com', '{}', NULL, now())"
            )
        )
    test = path(await saved(admin), "/test")
    to = ["Ann@example.com", "BOB@example.com", "cid@example.com", "dan@example.com"]
    response = await admin.post(test, json={"to": to})
    assert (response.status_code, response.json()) == (
        202,
        {
            "sent": ["dan@example.com"],
            "leftOut": [
                {"email": "Ann@example.com", "reason": "SUPPRESSED"},
                {"email": "BOB@example.com", "reason": "OPTED_OUT"},
                {"email": "cid@example.com", "reason": "OPTED_OUT"},
            ],
        },
    )
    refused = await admin.post(test, json={"to": to[:3]})
    assert "every address has opted out" in assert_problem(refused, 409, "wrong-state")["detail"]
    async with owner.transaction() as tx:
        rows = (await tx.connection.execute(text("SELECT recipients FROM marketing_test_mails"))).scalars().all()
    assert rows == [["dan@example.com"]]


async def test_a_test_mail_needs_a_body(admin: httpx.AsyncClient) -> None:
    campaign = await saved(admin, htmlBody=None)
    response = await admin.post(path(campaign, "/test"), json={"to": ["a@b.example"]})
    assert_problem(response, 422, "invalid-input", "htmlBody")


class TestSender:
    async def test_the_default_sender_is_used(self, resources: Resources) -> None:
        senders = SenderRules(default_address="default@acme.example")
        async with client_of(create_app(with_senders(resources, senders)), token()) as client:
            assert (await saved(client, fromEmail=None))["fromEmail"] == "default@acme.example"

    async def test_without_a_default_it_is_required(self, admin: httpx.AsyncClient) -> None:
        response = await admin.post("/api/marketing/campaigns", json={"name": "x", "subject": "y"})
        assert_problem(response, 422, "invalid-input", "fromEmail")

    async def test_each_organisation_sends_from_its_own_domains(self, resources: Resources) -> None:
        domains = {"acme": ["acme.example", "bücher.example"], "globex": ["globex.example"]}
        senders = SenderRules(domains=domains)
        async with client_of(create_app(with_senders(resources, senders)), token()) as client:
            for good in ("news@acme.example", "News@ACME.example", "x@bücher.example"):
                await saved(client, fromEmail=good)
            response = await client.post(
                "/api/marketing/campaigns", json={"name": "x", "subject": "y", "fromEmail": "x@globex.example"}
            )
            problem = assert_problem(response, 422, "invalid-input", "fromEmail")
            assert problem["errors"][0]["code"] == "from-domain"
