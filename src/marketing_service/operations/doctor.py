"""`doctor`: examines the installation as its processes would use it, and says what is wrong and what to do."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from marketing_service.addresses import receiving_domain
from marketing_service.auth import KeySet
from marketing_service.bootstrap import Resources, database_of
from marketing_service.db import DATABASE_ERRORS, WrongSession, reason_of
from marketing_service.delivery import RelayAddress, relay_facts
from marketing_service.errors import MarketingError
from marketing_service.operations.migrate import MIN_SERVER
from marketing_service.ports import AudienceError, RelayDown
from marketing_service.preflight import domain_findings
from marketing_service.rendering import Severity
from marketing_service.settings import unknown_settings
from marketing_service.store import access, server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

    from marketing_service.bootstrap import Process
    from marketing_service.settings import Settings

_SECONDS = 15.0
"""Maximum time for each part."""
_RELAY_SECONDS = 10.0
_MIN_CERTIFICATE_DAYS = 14
_SLOW_CLOCK, _WRONG_CLOCK = 2.0, 30.0
"""Seconds between this machine's clock and PostgreSQL's: a warning, an error. Tokens are checked with the first, and
leases with the second."""


class Level(StrEnum):
    """How bad a finding is. Only ERROR makes the exit code 1."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is so, and for a warning or an error what to do."""

    part: str
    level: Level
    text: str
    advice: str = ""


def ok(part: str, text: str) -> Finding:
    """A finding that needs nothing done."""
    return Finding(part, Level.OK, text)


# ── the settings, without any connection ──


def examine_settings(settings: Settings, environment: Mapping[str, str]) -> list[Finding]:
    """The settings that are valid, but surprising."""
    found = []
    for name, near in unknown_settings(environment).items():
        advice = f"Did you mean {near}?" if near else "Remove it, or look for its name in the README's table."
        found.append(Finding("settings", Level.WARNING, f"{name} is no setting of this service", advice))
    if urlsplit(settings.public_base_url).scheme != "https":
        found.append(
            Finding(
                "public address",
                Level.WARNING,
                f"MARKETING_PUBLIC_BASE_URL is {settings.public_base_url}: the links in messages are not encrypted,"
                " and anybody on the way can read and change them",
                "Serve the public routes over https://, and set it.",
            )
        )
    else:
        found.append(ok("public address", settings.public_base_url))
    if settings.jwt_secret is not None:
        found.append(ok("tokens", "HS256 with MARKETING_JWT_SECRET"))
    if settings.bounce_domain is None:
        found.append(
            Finding(
                "bounces",
                Level.WARNING,
                "MARKETING_BOUNCE_DOMAIN is not set, so no bounce and no complaint comes back",
                "See docs/bounces.md.",
            )
        )
    return found or [ok("settings", "every name is known")]


# ── the parts, each with real calls ──


async def examine_database(settings: Settings, process: Process) -> list[Finding]:
    """Log-in, version, a write, schema, rights and clock, with the role of this process."""
    part = f"postgresql ({process})"
    database = database_of(settings, process)
    found = []
    try:
        async with database.transaction() as tx:
            version = await tx.connection.run_sync(server.server_version)
            if version < MIN_SERVER:
                text = f"PostgreSQL {MIN_SERVER} or newer is needed, and this server is {version}"
                return [Finding(part, Level.ERROR, text, "Upgrade the server.")]
        await server.require_usable(database.transaction)
        async with database.transaction() as tx:
            missing = await tx.connection.run_sync(access.missing)
            if missing:
                found.append(
                    Finding(
                        part,
                        Level.ERROR,
                        f"{len(missing)} rights or policies are missing; the first: {missing[0]}",
                        "Run `marketing-service migrate` as the owner of the database.",
                    )
                )
            before = time.time()
            there = await tx.connection.run_sync(server.clock)
            here = (before + time.time()) / 2
            found += _clock_findings(here - there)
            text = f"PostgreSQL {version}, the schema of this version, the role of this process"
            return [ok(part, text), *found]
    finally:
        await database.close()


def _clock_findings(ahead: float) -> list[Finding]:
    if abs(ahead) < _SLOW_CLOCK:
        return [ok("clock", f"{abs(ahead):.1f} s from PostgreSQL's")]
    direction = "ahead of" if ahead > 0 else "behind"
    level = Level.ERROR if abs(ahead) >= _WRONG_CLOCK else Level.WARNING
    text = f"The clock of this machine is {abs(ahead):.0f} s {direction} PostgreSQL's: valid tokens are refused"
    return [Finding("clock", level, text, "Synchronise both clocks (NTP).")]


async def examine_redis(resources: Resources) -> list[Finding]:
    """The kind of server, its memory, and the writes of the queue and of the limits."""
    await resources.job_queue.ping()
    return [ok("redis", "takes the writes of the queue and of the limits")]


async def examine_relay(settings: Settings) -> list[Finding]:
    """One session as far as the log-in, as a worker opens it."""
    url = settings.smtp_url.get_secret_value()
    if not url:
        return [
            Finding("relay", Level.ERROR, "MARKETING_SMTP_URL is not set, so every launch fails", "Set it to a relay.")
        ]
    address = RelayAddress.parse(url)
    facts = await relay_facts(address, seconds=_RELAY_SECONDS, hello_name=socket.gethostname())
    offers = [name.upper() for name in ("pipelining", "8bitmime") if name in facts.extensions]
    size = facts.extensions.get("size", "").strip()
    log_in = "no log-in" if address.username is None else "logged in"
    encryption = facts.tls_version or "not encrypted"
    found = [
        ok(
            "relay",
            f"{address.host}:{address.port}, {encryption}, {log_in}; offers {', '.join(offers) or 'no extension'}"
            + (f", messages up to {int(size):,} octets" if size.isdecimal() and int(size) else ""),
        )
    ]
    if "pipelining" not in facts.extensions:
        found.append(
            Finding(
                "relay",
                Level.WARNING,
                "The relay does not offer PIPELINING: each message waits for several replies",
                "A filter or firewall in between may remove it.",
            )
        )
    if facts.tls_version is None and address.username is not None:
        found.append(
            Finding(
                "relay",
                Level.WARNING,
                "User and password travel unencrypted",
                "Use smtp+starttls:// or smtps:// in MARKETING_SMTP_URL.",
            )
        )
    if facts.certificate_ends is not None:
        days = (facts.certificate_ends - datetime.now(UTC)).days
        if days < _MIN_CERTIFICATE_DAYS:
            text = f"The relay's certificate expires on {facts.certificate_ends:%Y-%m-%d}, in {days} days"
            found.append(Finding("relay", Level.WARNING, text, "Tell the relay's operator."))
    return found


async def examine_contacts(resources: Resources, org_id: str | None) -> list[Finding]:
    """One real call if an organisation is given, else only whether the source answers."""
    if org_id is None:
        await resources.audience.probe()
        return [ok("contacts", "the source answers; --org ORGANISATION makes a real call")]
    statuses = await resources.audience.statuses(org_id)
    return [ok("contacts", f"{len(statuses)} contact statuses of {org_id}")]


async def examine_keys(settings: Settings, resources: Resources) -> list[Finding]:
    """Whether the key server gives keys."""
    if settings.jwt_jwks_url is None:
        return []
    await KeySet(resources.http, settings.jwt_jwks_url).find(None, "RS256")
    return [ok("tokens", f"the keys of {settings.jwt_jwks_url}")]


async def examine_domains(settings: Settings, resources: Resources) -> list[Finding]:
    """SPF, DKIM and DMARC of every domain that campaigns may be sent from."""
    domains = {domain for listed in settings.from_domains.values() for domain in listed}
    if settings.default_from_email:
        domains.add(receiving_domain(settings.default_from_email))
    if not domains:
        text = "neither MARKETING_DEFAULT_FROM_EMAIL nor MARKETING_FROM_DOMAINS names one"
        return [
            Finding("sender's domain", Level.WARNING, text, "Every address may be a campaign's sender; name yours.")
        ]
    found = []
    for domain in sorted(domains):
        problems = await domain_findings(
            resources.records,
            domain,
            envelope_domain=settings.bounce_domain or domain,
            dkim_selector=settings.dkim_selector,
        )
        found += [
            Finding("sender's domain", Level.WARNING, problem.message.rstrip("."), "See docs/checks.md.")
            for problem in problems
            if problem.severity is not Severity.NOTE or problem.code.endswith("_UNKNOWN")
        ] or [ok("sender's domain", f"{domain} has SPF, DKIM and DMARC")]
    return found


# ── all together ──


async def examine(
    settings: Settings, environment: Mapping[str, str], *, processes: Iterable[Process], org_id: str | None
) -> list[Finding]:
    """The findings of all parts, in the order of the parts. Takes about `_SECONDS` at most."""
    async with Resources.open(settings, process="api") as resources, _quietly():
        parts: dict[str, Callable[[], Awaitable[list[Finding]]]] = {
            **{f"postgresql ({process})": partial(examine_database, settings, process) for process in processes},
            "redis": partial(examine_redis, resources),
            "relay": partial(examine_relay, settings),
            "contacts": partial(examine_contacts, resources, org_id),
            "tokens": partial(examine_keys, settings, resources),
            "sender's domain": partial(examine_domains, settings, resources),
        }
        examined = await asyncio.gather(*(_examined(part, ask) for part, ask in parts.items()))
    return [*examine_settings(settings, environment), *_once(finding for found in examined for finding in found)]


@asynccontextmanager
async def _quietly() -> AsyncIterator[None]:
    """The findings say what the log would say."""
    with structlog.testing.capture_logs():
        yield


async def _examined(part: str, ask: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    try:
        async with asyncio.timeout(_SECONDS):
            return await ask()
    except (MarketingError, AudienceError, RelayDown, WrongSession, *DATABASE_ERRORS) as error:
        return [Finding(part, Level.ERROR, _text(error), _advice(part))]


def _text(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"does not answer within {_SECONDS:g} s"
    cause: Any = getattr(error, "cause", None)
    detail = str(error).removesuffix(".").removesuffix("; try again in a few seconds")
    if isinstance(error, DATABASE_ERRORS):
        return reason_of(error) or detail
    return f"{detail} ({cause})" if cause and cause not in detail else detail


def _advice(part: str) -> str:
    return {
        "redis": "Check MARKETING_REDIS_URL; docs/operating.md has the rights that it needs.",
        "relay": "Check MARKETING_SMTP_URL, and whether this machine may reach the relay.",
        "contacts": "Check MARKETING_CRM_URL and MARKETING_CRM_TOKEN, or MARKETING_CRM_DATABASE_URL.",
        "tokens": "Check MARKETING_JWT_JWKS_URL.",
        "sender's domain": "Check MARKETING_DNS_RESOLVER.",
    }.get(part, "Check MARKETING_DATABASE_URL, and run `marketing-service migrate`.")


def _once(findings: Iterable[Finding]) -> list[Finding]:
    """The database is asked once per role, and some findings are the same."""
    return list(dict.fromkeys(findings))


# ── how it is shown ──


def as_table(findings: Iterable[Finding]) -> str:
    """One line for each finding, and below it what to do."""
    rows = list(findings)
    width = max(len(row.part) for row in rows)
    lines = []
    for row in rows:
        lines.append(f"{row.level:<8} {row.part:<{width}}  {row.text}")
        if row.advice:
            lines.append(f"{'':<8} {'':<{width}}  → {row.advice}")
    return "\n".join(lines)


def as_json(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """For `--json`: `part`, `level`, `text` and `advice` of each finding."""
    return [asdict(finding) for finding in findings]
