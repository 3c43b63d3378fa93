"""A dry run of a launch: everything a launch would find, and nothing changed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from starlette.responses import Response

from marketing_service.campaigns import drafts, preflight_requests, suppression_list
from marketing_service.ports import AudienceType
from marketing_service.rendering import Finding, Severity
from marketing_service.resolver import DnsTextRecords
from marketing_service.settings import DnsServer, _dns_server
from marketing_service.store import preflights
from marketing_service.store.preflights import Preflight, PreflightStatus
from marketing_service.worker.dependencies import WorkerDependencies
from tests.support.ledger import assert_adds_up, draft, send_rows
from tests.support.names import Names
from tests.support.world import World, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from starlette.requests import Request

GOOD_DOMAIN = {
    "acme.example": [[b"v=spf1 include:relay.example -all"], [b"google-site-verification=x"]],
    "_dmarc.acme.example": [[b"v=DMARC1; p=none"]],
    "m1._domainkey.acme.example": [[b"v=DKIM1; k=rsa; ", b"p=MIGf"]],
}


@pytest.fixture
async def names() -> AsyncIterator[Names]:
    async with Names(GOOD_DOMAIN) as server:
        yield server


@pytest.fixture
def validated_world(world: World, names: Names) -> World:
    """The world, with DNS of our own and a key that the relay signs with."""
    server = _dns_server(names.address)
    assert isinstance(server, DnsServer)
    settings = world.settings.model_copy(update={"dkim_selector": "m1"})
    world.worker = replace(world.worker, settings=settings, records=DnsTextRecords(server, timeout=1.0))
    return world


async def asked(world: World, **values: Any) -> UUID:
    """A draft, and somebody asked for a check of it."""
    campaign_id = await draft(world.owner, **({"org_id": world.org_id, "text_body": "Hello"} | values))
    await ask(world, campaign_id)
    return campaign_id


async def ask(world: World, campaign_id: UUID) -> Preflight:
    return await preflight_requests.request(
        world.api.transactions,
        world.api.job_queue,
        world.settings,
        org_id=world.org_id,
        campaign_id=campaign_id,
        requested_by="someone",
    )


async def found(world: World, campaign_id: UUID) -> Preflight:
    async with world.api.transactions(world.org_id) as tx:
        return await preflight_requests.get(tx, world.org_id, campaign_id)


async def validated(world: World, campaign_id: UUID) -> Preflight:
    await WorkerDependencies.of(world.worker).dry_run.check(campaign_id)
    return await found(world, campaign_id)


def findings(check: Preflight) -> dict[str, Finding]:
    assert check.report is not None
    return {finding.code: finding for finding in check.report.findings}


async def test_a_worker_counts_what_a_launch_then_makes(validated_world: World) -> None:
    world = validated_world
    campaign_id = await asked(world)

    async def done() -> bool:
        return (await found(world, campaign_id)).status is PreflightStatus.DONE

    async with world.working():
        await until(done)
        check = await found(world, campaign_id)
        assert world.relay.accepted == []
        assert await send_rows(world.owner, campaign_id) == []
        launched = await world.launch()
        await world.until_status(launched, "SENT")
    report = check.report
    assert report is not None
    counters = await assert_adds_up(world.owner, launched)
    assert counters["recipients"] == report.recipients + report.duplicates + report.malformed
    assert (counters["skipped"], counters["delivered"]) == (report.duplicates, report.recipients)
    assert report.opted_out > 0
    assert report.without_address > 0
    assert (check.fetched, check.expected, check.stale) == (counters["recipients"], counters["recipients"], False)
    assert set(findings(check)) == {"OPTED_OUT", "NO_ADDRESS", "DUPLICATE", "MISSING_VALUE"}
    assert report.estimated_seconds is None


async def test_who_opted_out_here_is_left_out_before_the_crm_knows(validated_world: World) -> None:
    world = validated_world
    campaign_id = await asked(world)
    before = (await validated(world, campaign_id)).report
    sample = await world.worker.audience.sample(world.org_id, drafts.EVERYBODY, most=1)
    async with world.owner.transaction() as tx:
        await tx.connection.execute(
            text(
                "INSERT INTO marketing_opt_outs (org_id, address, contact_ids, due_at)"
                " VALUES (:org, :address, '{}', now())"
            ),
            {"org": world.org_id, "address": (sample[0].email or "").lower()},
        )
    await ask(world, campaign_id)
    after = (await validated(world, campaign_id)).report
    assert before is not None
    assert after is not None
    assert (after.recipients, after.opted_out) == (before.recipients - 1, before.opted_out + 1)


async def test_who_is_suppressed_is_counted_by_itself(validated_world: World) -> None:
    world = validated_world
    campaign_id = await asked(world)
    before = (await validated(world, campaign_id)).report
    sample = await world.worker.audience.sample(world.org_id, drafts.EVERYBODY, most=1)
    await suppression_list.add(
        world.api.transactions, org_id=world.org_id, email=sample[0].email or "", note=None, created_by="ada"
    )
    await ask(world, campaign_id)
    check = await validated(world, campaign_id)
    assert before is not None
    assert check.report is not None
    assert (before.suppressed, check.report.suppressed) == (0, 1)
    assert check.report.recipients == before.recipients - 1
    assert findings(check)["SUPPRESSED"].count == 1


async def test_errors_come_first_and_each_finding_names_its_place(validated_world: World) -> None:
    world = validated_world
    campaign_id = await asked(
        world,
        subject="{{companyName}}",
        html_body="<style>p {}</style>\n<p>Hello <a href='http://a.example'>x</a><img src='x.png'></p>",
        text_body=None,
        audience_type=AudienceType.BY_STATUS,
        audience_statuses=["CUSTOMER", "VANISHED"],
    )
    check = await validated(world, campaign_id)
    assert check.report is not None
    severities = [finding.severity for finding in check.report.findings]
    assert severities == sorted(severities, key=list(Severity).index)
    by_code = findings(check)
    assert by_code["STATUS_UNKNOWN"].severity is Severity.ERROR
    assert by_code["STATUS_UNKNOWN"].place == "audience.statuses"
    assert by_code["RENDERS_EMPTY"].place == "subject"
    assert (by_code["RENDERS_EMPTY"].count or 0) > 0
    assert by_code["LINK_WITHOUT_HTTPS"].line == 2
    assert {"IMAGE_WITHOUT_ALT", "STYLE_BLOCK", "NO_PLAIN_TEXT"} < by_code.keys()


async def test_a_sender_without_records_is_warned_of(validated_world: World, names: Names) -> None:
    names.texts = {"acme.example": [[b"v=spf1 -all"], [b"v=spf1 ~all"]], "m1._domainkey.acme.example": [[b"p="]]}
    by_code = findings(await validated(validated_world, await asked(validated_world)))
    assert {"SPF_AMBIGUOUS", "NO_DMARC", "NO_DKIM"} < by_code.keys()
    assert {by_code[code].severity for code in ("SPF_AMBIGUOUS", "NO_DMARC", "NO_DKIM")} == {Severity.WARNING}
    names.texts = {}
    by_code = findings(await validated(validated_world, await asked(validated_world, from_email="x@news.acme.example")))
    assert {"NO_SPF", "NO_DMARC", "NO_DKIM"} < by_code.keys()
    names.texts = {"_dmarc.acme.example": [[b"v=DMARC1;p=reject"]]}
    by_code = findings(await validated(validated_world, await asked(validated_world, from_email="x@news.acme.example")))
    assert "NO_DMARC" not in by_code, "the organisation's counts for its subdomains"


async def test_spf_is_looked_for_where_the_envelope_is_from(validated_world: World, names: Names) -> None:
    settings = validated_world.worker.settings.model_copy(update={"bounce_domain": "bounce.acme.example"})
    validated_world.worker = replace(validated_world.worker, settings=settings)
    names.texts = {"acme.example": [[b"v=spf1 -all"]]}
    by_code = findings(await validated(validated_world, await asked(validated_world)))
    assert "bounce.acme.example" in by_code["NO_SPF"].message
    names.texts = {"bounce.acme.example": [[b"v=spf1 -all"]]}
    by_code = findings(await validated(validated_world, await asked(validated_world)))
    assert "NO_SPF" not in by_code


async def test_what_the_dns_does_not_say_is_unknown(validated_world: World, names: Names) -> None:
    names.silent = True
    by_code = findings(await validated(validated_world, await asked(validated_world)))
    assert {by_code[f"{name}_UNKNOWN"].severity for name in ("SPF", "DMARC", "DKIM")} == {Severity.NOTE}
    names.silent = False
    validated_world.worker = replace(validated_world.worker, settings=validated_world.settings)
    by_code = findings(await validated(validated_world, await asked(validated_world)))
    assert "MARKETING_DKIM_SELECTOR" in by_code["DKIM_UNKNOWN"].message


async def test_without_a_relay_a_launch_would_fail(validated_world: World) -> None:
    validated_world.worker = replace(validated_world.worker, mailer=None)
    by_code = findings(await validated(validated_world, await asked(validated_world)))
    assert by_code["SMTP_NOT_CONFIGURED"].severity is Severity.ERROR


async def test_with_the_crm_down_it_waits_and_goes_on(validated_world: World) -> None:
    world = validated_world
    campaign_id = await asked(world)
    world.crm.down()
    check = await validated(world, campaign_id)
    assert (check.status, check.report) == (PreflightStatus.RUNNING, None)

    async def done() -> bool:
        return (await found(world, campaign_id)).status is PreflightStatus.DONE

    world.crm.up()
    async with world.working():
        await until(done)


async def test_a_crm_that_refuses_or_is_down_for_long_fails_it_with_the_reason(validated_world: World) -> None:
    world = validated_world

    async def forbid(_: Request) -> Response:
        return Response(status_code=403)

    campaign_id = await asked(world)
    world.crm.fault = forbid
    check = await validated(world, campaign_id)
    assert check.status is PreflightStatus.FAILED
    assert "403" in (check.failure or "")
    world.crm.up()
    await ask(world, campaign_id)
    world.crm.down()
    async with world.owner.transaction() as tx:
        await tx.connection.execute(text("UPDATE marketing_preflights SET requested_at = now() - interval '1 day'"))
    assert (await validated(world, campaign_id)).status is PreflightStatus.FAILED


async def test_a_campaign_changed_since_is_not_checked_for_what_it_was(validated_world: World) -> None:
    world = validated_world
    campaign_id = await asked(world)
    async with world.owner.transaction() as tx:
        await tx.connection.execute(text("UPDATE marketing_campaigns SET version = version + 1"))
    check = await validated(world, campaign_id)
    assert (check.status, check.stale) == (PreflightStatus.FAILED, True)


async def test_a_newer_request_overtakes_an_attempt_under_way(validated_world: World) -> None:
    """What the older attempt writes then changes nothing."""
    world = validated_world
    campaign_id = await asked(world)

    async def change(request: Request) -> None:
        if "cursor" in str(request.url):
            world.crm.up()
            async with world.owner.transaction() as tx:
                await tx.connection.execute(text("UPDATE marketing_campaigns SET version = version + 1"))
            await ask(world, campaign_id)

    world.crm.fault = change
    check = await validated(world, campaign_id)
    assert (check.status, check.fetched, check.version) == (PreflightStatus.RUNNING, 0, 2)
    assert (await validated(world, campaign_id)).status is PreflightStatus.DONE


async def test_an_attempt_that_died_is_taken_up_by_another(validated_world: World) -> None:
    world = validated_world
    campaign_id = await asked(world)
    async with world.worker.transactions() as tx:
        assert await preflights.claim_preflight(tx.connection, campaign_id, lease=60) is not None
        assert await preflights.claim_preflight(tx.connection, campaign_id, lease=60) is None
        assert await preflights.due_preflights(tx.connection) == []
    async with world.owner.transaction() as tx:
        await tx.connection.execute(text("UPDATE marketing_preflights SET lease_until = now() - interval '1 second'"))
    assert (await validated(world, campaign_id)).status is PreflightStatus.DONE


async def test_a_drain_lets_go_of_it(validated_world: World) -> None:
    world = validated_world
    campaign_id = await asked(world)
    parts = WorkerDependencies.of(world.worker)

    async def drain(_: Request) -> None:
        parts.drain()

    world.crm.fault = drain
    await parts.dry_run.check(campaign_id)
    assert (await found(world, campaign_id)).status is PreflightStatus.RUNNING
    async with world.worker.transactions() as tx:
        assert [due for due, _ in await preflights.due_preflights(tx.connection)] == [campaign_id]


async def test_the_time_to_send_is_told_from_the_pace_of_the_last_campaigns(validated_world: World) -> None:
    """1,000 sends, one every ten milliseconds."""
    world = validated_world
    await world.launch_to(*(f"p{number}@example.com" for number in range(1000)))
    async with world.owner.transaction() as tx:
        await tx.connection.execute(
            text(
                "UPDATE marketing_sends s SET status = 'DELIVERED', marked_at = now() + n * interval '10 milliseconds'"
                " FROM (SELECT id, row_number() OVER (ORDER BY contact_id) AS n FROM marketing_sends) AS nth"
                " WHERE nth.id = s.id"
            )
        )
        await tx.connection.execute(
            text("UPDATE marketing_campaigns SET status = 'SENT', sent_at = now(), queued = 0, delivered = recipients")
        )
    report = (await validated(world, await asked(world))).report
    assert report is not None
    assert report.estimated_seconds == pytest.approx(report.recipients / 100, rel=0.1)
