"""A dry run finds everything that a launch would find, and changes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from starlette.responses import Response

from marketing_service.campaigns import drafts, preflight_requests, suppression_list
from marketing_service.ports import AudienceType
from marketing_service.rendering import Finding, PostalAddresses, Severity
from marketing_service.resolver import DnsTextRecords
from marketing_service.settings import DnsServer, _dns_server
from marketing_service.store import preflights
from marketing_service.store.audit import Actor
from marketing_service.store.preflights import Preflight, PreflightStatus
from marketing_service.worker.dependencies import WorkerDependencies
from tests.support.ledger import assert_adds_up, draft, send_rows
from tests.support.names import Names
from tests.support.world import World, open_mailer, until

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
def world_with_dns(world: World, names: Names) -> World:
    """The world, with a DNS server of the test and a DKIM selector."""
    server = _dns_server(names.address)
    assert isinstance(server, DnsServer)
    settings = world.settings.model_copy(update={"dkim_selector": "m1"})
    world.worker = replace(world.worker, settings=settings, records=DnsTextRecords(server, timeout=1.0))
    return world


async def requested(world: World, **values: Any) -> UUID:
    """A draft whose preflight is requested."""
    campaign_id = await draft(world.owner, **({"org_id": world.org_id, "text_body": "Hello"} | values))
    await request_preflight(world, campaign_id)
    return campaign_id


async def request_preflight(world: World, campaign_id: UUID) -> Preflight:
    return await preflight_requests.request(
        world.api.transactions,
        world.api.job_queue,
        world.api.campaign_rules,
        actor=Actor(world.org_id, "someone"),
        campaign_id=campaign_id,
    )


async def stored(world: World, campaign_id: UUID) -> Preflight:
    async with world.api.transactions(world.org_id) as tx:
        return await preflight_requests.get(tx, world.org_id, campaign_id)


async def checked(world: World, campaign_id: UUID) -> Preflight:
    await WorkerDependencies.of(world.worker).dry_run.check(campaign_id)
    return await stored(world, campaign_id)


def findings(check: Preflight) -> dict[str, Finding]:
    assert check.report is not None
    return {finding.code: finding for finding in check.report.findings}


async def test_the_preflight_counts_what_the_launch_then_creates(world_with_dns: World) -> None:
    world = world_with_dns
    campaign_id = await requested(world)

    async def done() -> bool:
        return (await stored(world, campaign_id)).status is PreflightStatus.DONE

    async with world.working():
        await until(done)
        check = await stored(world, campaign_id)
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


async def test_a_pending_opt_out_is_left_out_before_the_crm_has_it(world_with_dns: World) -> None:
    world = world_with_dns
    campaign_id = await requested(world)
    before = (await checked(world, campaign_id)).report
    sample = await world.worker.audience.sample(world.org_id, drafts.EVERYBODY, limit=1)
    async with world.owner.transaction() as tx:
        await tx.connection.execute(
            text(
                "INSERT INTO marketing_opt_outs (org_id, address, contact_ids, due_at)"
                " VALUES (:org, :address, '{}', now())"
            ),
            {"org": world.org_id, "address": (sample[0].email or "").lower()},
        )
    await request_preflight(world, campaign_id)
    after = (await checked(world, campaign_id)).report
    assert before is not None
    assert after is not None
    assert (after.recipients, after.opted_out) == (before.recipients - 1, before.opted_out + 1)


async def test_suppressed_contacts_are_counted_separately(world_with_dns: World) -> None:
    world = world_with_dns
    campaign_id = await requested(world)
    before = (await checked(world, campaign_id)).report
    sample = await world.worker.audience.sample(world.org_id, drafts.EVERYBODY, limit=1)
    await suppression_list.add(
        world.api.transactions, actor=Actor(world.org_id, "ada"), email=sample[0].email or "", note=None
    )
    await request_preflight(world, campaign_id)
    check = await checked(world, campaign_id)
    assert before is not None
    assert check.report is not None
    assert (before.suppressed, check.report.suppressed) == (0, 1)
    assert check.report.recipients == before.recipients - 1
    assert findings(check)["SUPPRESSED"].count == 1


async def test_errors_come_first_and_each_finding_names_its_place(world_with_dns: World) -> None:
    world = world_with_dns
    campaign_id = await requested(
        world,
        subject="{{companyName}}",
        html_body="<style>p {}</style>\n<p>Hello <a href='http://a.example'>x</a><img src='x.png'></p>",
        text_body=None,
        audience_type=AudienceType.BY_STATUS,
        audience_statuses=["CUSTOMER", "VANISHED"],
    )
    check = await checked(world, campaign_id)
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


async def test_a_body_with_its_own_link_and_without_the_postal_address_is_a_warning(world_with_dns: World) -> None:
    world = world_with_dns
    rules = replace(world.worker.campaign_rules, postal_addresses=PostalAddresses({"*": "Acme Ltd, 1 Main Street"}))
    world.worker = replace(world.worker, campaign_rules=rules)
    html = '<p><a href="{{ unsubscribeUrl }}">leave</a></p>'
    finding = findings(await checked(world, await requested(world, html_body=html)))["NO_POSTAL_ADDRESS"]
    assert (finding.severity, finding.place) == (Severity.WARNING, "htmlBody")
    with_address = html + "<p>Acme Ltd<br>1 Main Street</p>"
    assert "NO_POSTAL_ADDRESS" not in findings(await checked(world, await requested(world, html_body=with_address)))
    assert "NO_POSTAL_ADDRESS" not in findings(await checked(world, await requested(world)))


async def test_merge_tags_of_other_systems_are_warnings_with_text_and_line(world_with_dns: World) -> None:
    campaign_id = await requested(
        world_with_dns,
        subject="Hello [[first_name]]",
        html_body="<p>Hello *|FNAME|*</p>\n<p>%recipient.name% [FIRST] {{ lastName }}</p>",
        text_body="Dear\n{first_name}",
    )
    report = (await checked(world_with_dns, campaign_id)).report
    assert report is not None
    reported = [finding for finding in report.findings if finding.code == "MERGE_TAG"]
    assert {finding.severity for finding in reported} == {Severity.WARNING}
    assert [(finding.place, finding.line, finding.message.split('"')[1]) for finding in reported] == [
        ("subject", 1, "[[first_name]]"),
        ("htmlBody", 1, "*|FNAME|*"),
        ("htmlBody", 2, "%recipient.name%"),
        ("htmlBody", 2, "[FIRST]"),
        ("textBody", 2, "{first_name}"),
    ]


async def test_a_message_above_the_relays_size_is_an_error_with_both_sizes(world_with_dns: World) -> None:
    world_with_dns.relay.size = 1_000
    check = await checked(world_with_dns, await requested(world_with_dns, html_body=None, text_body="x" * 5_000))
    assert check.report is not None
    finding = findings(check)["MESSAGE_TOO_LARGE"]
    assert (finding.severity, finding.place) == (Severity.ERROR, "textBody")
    assert f"{check.report.largest_octets:,} octets" in finding.message
    assert "at most 1,000 (" in finding.message


async def test_the_size_is_that_of_the_largest_message_of_the_audience(world_with_dns: World) -> None:
    world = world_with_dns
    world.relay.size = 4_000
    for name, is_too_large in (("Dieter", True), ("Nobody", False)):
        text_body = f"Hello{{% if firstName == '{name}' %}}{'long ' * 500}{{% endif %}}"
        check = await checked(world, await requested(world, html_body=None, text_body=text_body))
        assert check.report is not None
        assert ((check.report.largest_octets or 0) > 5_000) is is_too_large
        assert ("MESSAGE_TOO_LARGE" in findings(check)) is is_too_large


async def test_a_relay_that_is_down_or_announces_no_size_has_no_say_about_it(world_with_dns: World) -> None:
    world = world_with_dns
    world.relay.size = None
    assert "MESSAGE_TOO_LARGE" not in findings(await checked(world, await requested(world)))
    await world.relay.stop()
    async with open_mailer(world.relay.url) as mailer:
        world.worker = replace(world.worker, mailer=mailer)
        check = await checked(world, await requested(world))
    assert "MESSAGE_TOO_LARGE" not in findings(check)
    assert check.report is not None
    assert check.report.largest_octets


async def test_missing_dns_records_are_warnings(world_with_dns: World, names: Names) -> None:
    names.texts = {"acme.example": [[b"v=spf1 -all"], [b"v=spf1 ~all"]], "m1._domainkey.acme.example": [[b"p="]]}
    by_code = findings(await checked(world_with_dns, await requested(world_with_dns)))
    assert {"SPF_AMBIGUOUS", "NO_DMARC", "NO_DKIM"} < by_code.keys()
    assert {by_code[code].severity for code in ("SPF_AMBIGUOUS", "NO_DMARC", "NO_DKIM")} == {Severity.WARNING}
    names.texts = {}
    by_code = findings(await checked(world_with_dns, await requested(world_with_dns, from_email="x@news.acme.example")))
    assert {"NO_SPF", "NO_DMARC", "NO_DKIM"} < by_code.keys()
    names.texts = {"_dmarc.acme.example": [[b"v=DMARC1;p=reject"]]}
    by_code = findings(await checked(world_with_dns, await requested(world_with_dns, from_email="x@news.acme.example")))
    assert "NO_DMARC" not in by_code, "the record of the organisational domain applies to its subdomains"


async def test_spf_is_checked_for_the_domain_of_the_envelope(world_with_dns: World, names: Names) -> None:
    settings = world_with_dns.worker.settings.model_copy(update={"bounce_domain": "bounce.acme.example"})
    world_with_dns.worker = replace(world_with_dns.worker, settings=settings)
    names.texts = {"acme.example": [[b"v=spf1 -all"]]}
    by_code = findings(await checked(world_with_dns, await requested(world_with_dns)))
    assert "bounce.acme.example" in by_code["NO_SPF"].message
    names.texts = {"bounce.acme.example": [[b"v=spf1 -all"]]}
    by_code = findings(await checked(world_with_dns, await requested(world_with_dns)))
    assert "NO_SPF" not in by_code


async def test_without_an_answer_from_the_dns_a_record_is_unknown(world_with_dns: World, names: Names) -> None:
    names.silent = True
    by_code = findings(await checked(world_with_dns, await requested(world_with_dns)))
    assert {by_code[f"{name}_UNKNOWN"].severity for name in ("SPF", "DMARC", "DKIM")} == {Severity.NOTE}
    names.silent = False
    world_with_dns.worker = replace(world_with_dns.worker, settings=world_with_dns.settings)
    by_code = findings(await checked(world_with_dns, await requested(world_with_dns)))
    assert "MARKETING_DKIM_SELECTOR" in by_code["DKIM_UNKNOWN"].message


async def test_without_a_relay_the_preflight_finds_an_error(world_with_dns: World) -> None:
    world_with_dns.worker = replace(world_with_dns.worker, mailer=None)
    by_code = findings(await checked(world_with_dns, await requested(world_with_dns)))
    assert by_code["SMTP_NOT_CONFIGURED"].severity is Severity.ERROR


async def test_the_preflight_waits_while_the_crm_is_down(world_with_dns: World) -> None:
    world = world_with_dns
    campaign_id = await requested(world)
    world.crm.down()
    check = await checked(world, campaign_id)
    assert (check.status, check.report) == (PreflightStatus.RUNNING, None)

    async def done() -> bool:
        return (await stored(world, campaign_id)).status is PreflightStatus.DONE

    world.crm.up()
    async with world.working():
        await until(done)


async def test_a_refusal_or_a_long_outage_of_the_crm_fails_the_preflight_with_the_reason(world_with_dns: World) -> None:
    world = world_with_dns

    async def forbid(_: Request) -> Response:
        return Response(status_code=403)

    campaign_id = await requested(world)
    world.crm.fault = forbid
    check = await checked(world, campaign_id)
    assert check.status is PreflightStatus.FAILED
    assert "403" in (check.failure or "")
    world.crm.up()
    await request_preflight(world, campaign_id)
    world.crm.down()
    async with world.owner.transaction() as tx:
        await tx.connection.execute(text("UPDATE marketing_preflights SET requested_at = now() - interval '1 day'"))
    assert (await checked(world, campaign_id)).status is PreflightStatus.FAILED


async def test_the_preflight_of_a_changed_campaign_fails(world_with_dns: World) -> None:
    world = world_with_dns
    campaign_id = await requested(world)
    async with world.owner.transaction() as tx:
        await tx.connection.execute(text("UPDATE marketing_campaigns SET version = version + 1"))
    check = await checked(world, campaign_id)
    assert (check.status, check.stale) == (PreflightStatus.FAILED, True)


async def test_a_newer_request_supersedes_a_running_attempt(world_with_dns: World) -> None:
    """The writes of the older attempt change nothing."""
    world = world_with_dns
    campaign_id = await requested(world)

    async def change(request: Request) -> None:
        if "cursor" in str(request.url):
            world.crm.up()
            async with world.owner.transaction() as tx:
                await tx.connection.execute(text("UPDATE marketing_campaigns SET version = version + 1"))
            await request_preflight(world, campaign_id)

    world.crm.fault = change
    check = await checked(world, campaign_id)
    assert (check.status, check.fetched, check.version) == (PreflightStatus.RUNNING, 0, 2)
    assert (await checked(world, campaign_id)).status is PreflightStatus.DONE


async def test_another_attempt_replaces_one_that_died(world_with_dns: World) -> None:
    world = world_with_dns
    campaign_id = await requested(world)
    async with world.worker.transactions() as tx:
        assert await preflights.claim_preflight(tx.connection, campaign_id, lease=60) is not None
        assert await preflights.claim_preflight(tx.connection, campaign_id, lease=60) is None
        assert await preflights.due_preflights(tx.connection) == []
    async with world.owner.transaction() as tx:
        await tx.connection.execute(text("UPDATE marketing_preflights SET lease_until = now() - interval '1 second'"))
    assert (await checked(world, campaign_id)).status is PreflightStatus.DONE


async def test_a_drain_releases_the_preflight(world_with_dns: World) -> None:
    world = world_with_dns
    campaign_id = await requested(world)
    dependencies = WorkerDependencies.of(world.worker)

    async def drain(_: Request) -> None:
        dependencies.drain()

    world.crm.fault = drain
    await dependencies.dry_run.check(campaign_id)
    assert (await stored(world, campaign_id)).status is PreflightStatus.RUNNING
    async with world.worker.transactions() as tx:
        assert [due for due, _ in await preflights.due_preflights(tx.connection)] == [campaign_id]


async def test_a_list_without_an_end_fails_the_preflight_at_the_time_limit(world_with_dns: World) -> None:
    world = world_with_dns
    world.crm.without_an_end()
    campaign_id = await requested(world)
    patience = world.worker.settings.model_copy(update={"launch_patience": 1.0})
    impatient = WorkerDependencies.of(replace(world.worker, settings=patience)).dry_run
    await asyncio.wait_for(impatient.check(campaign_id), 60)
    preflight = await stored(world, campaign_id)
    assert preflight.status is PreflightStatus.FAILED
    assert "did not end within" in (preflight.failure or "")


async def test_the_time_to_send_is_estimated_from_the_rate_of_recent_campaigns(world_with_dns: World) -> None:
    """The recent campaign has 1,000 sends, one every ten milliseconds."""
    world = world_with_dns
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
    report = (await checked(world, await requested(world))).report
    assert report is not None
    assert report.estimated_seconds == pytest.approx(report.recipients / 100, rel=0.1)
