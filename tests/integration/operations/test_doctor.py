"""`doctor` on real servers: what it says of a sound installation, and of each fault."""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from marketing_service.devstack.process import free_port
from marketing_service.operations import doctor
from marketing_service.operations.doctor import Finding, Level, examine
from marketing_service.ports import ContactStatus
from tests.support.crm_server import TOKEN, CrmServer
from tests.support.project import ROOT
from tests.support.relay import Relay, Step, answer
from tests.support.sql import execute_now
from tests.support.world import make_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from marketing_service.settings import Settings


@pytest.fixture
async def crm() -> AsyncIterator[CrmServer]:
    async with CrmServer() as server:
        server.contacts = {"acme": []}
        server.statuses = [ContactStatus("LEAD", "Lead")]
        yield server


@asynccontextmanager
async def installation(database_url: str, redis_url: str, crm: CrmServer, /, **values: Any) -> AsyncIterator[Settings]:
    async with Relay() as relay:
        defaults = {
            "database_url": database_url,
            "redis_url": redis_url,
            "smtp_url": relay.url,
            "crm_url": crm.url,
            "crm_token": TOKEN,
            "public_base_url": "https://news.example.com",
            "bounce_domain": "bounces.example.com",
            "dns_resolver": f"127.0.0.1:{free_port()}",
        }
        yield make_settings(**(defaults | values))


async def findings(settings: Settings, environment: dict[str, str] | None = None) -> list[Finding]:
    return await examine(settings, environment or {}, processes=("api", "worker"), org_id="acme")


def of(found: list[Finding], part: str) -> list[Finding]:
    return [finding for finding in found if finding.part.startswith(part)]


async def test_a_sound_installation_has_no_error(database_url: str, redis_url: str, crm: CrmServer) -> None:
    async with installation(database_url, redis_url, crm) as settings:
        found = await findings(settings)
    assert {finding.level for finding in found if finding.part != "sender's domain"} == {Level.OK}
    assert {finding.part for finding in found} >= {
        "public address", "postgresql (api)", "postgresql (worker)", "clock", "redis", "relay", "contacts", "tokens",
    }  # fmt: skip
    (relay,) = of(found, "relay")
    assert "PIPELINING, 8BITMIME" in relay.text
    assert "messages up to 50,000,000 octets" in relay.text
    (contacts,) = of(found, "contacts")
    assert contacts.text == "1 contact statuses of acme"


@pytest.mark.parametrize(
    ("values", "part", "words"),
    [
        ({"database_url": "postgresql://marketing:wrong@{postgres}/x"}, "postgresql", "refuses the log-in"),
        ({"database_url": "postgresql://127.0.0.1:{closed}/x"}, "postgresql", "does not answer"),
        ({"redis_url": "redis://127.0.0.1:{closed}/0"}, "redis", "does not answer"),
        ({"redis_url": "redis://:wrong@{redis}/0"}, "redis", "refuses the log-in"),
        ({"smtp_url": "smtp://127.0.0.1:{closed}"}, "relay", "Connect call failed"),
        ({"smtp_url": ""}, "relay", "every launch fails"),
        ({"crm_url": "http://127.0.0.1:{closed}"}, "contacts", "CRM"),
        ({"crm_token": "wrong"}, "contacts", "401"),
        ({"jwt_secret": None, "jwt_jwks_url": "http://127.0.0.1:{closed}/keys"}, "tokens", "key server"),
    ],
)
async def test_each_fault_is_an_error_of_its_part_with_the_cause_and_an_advice(
    database_url: str, redis_url: str, crm: CrmServer, values: dict[str, str | None], part: str, words: str
) -> None:
    places = {
        "closed": free_port(),
        "postgres": database_url.rpartition("@")[2].partition("/")[0],
        "redis": redis_url.removeprefix("redis://").rpartition("@")[2].partition("/")[0],
    }
    filled = {name: value.format(**places) if value else value for name, value in values.items()}
    async with installation(database_url, redis_url, crm, **filled) as settings:
        found = await findings(settings)
    errors = [finding for finding in found if finding.level is Level.ERROR]
    assert {error.part.partition(" ")[0] for error in errors} == {part}
    assert all(words.lower() in error.text.lower() for error in errors), errors
    assert all(error.advice for error in errors)
    assert "wrong" not in "".join(error.text for error in errors)


async def test_an_older_schema_is_an_error(database_url: str, redis_url: str, crm: CrmServer) -> None:
    await execute_now(database_url, "UPDATE marketing_schema_version SET version_num = '0003'")
    async with installation(database_url, redis_url, crm) as settings:
        errors = of(await findings(settings), "postgresql")
    assert {error.level for error in errors} == {Level.ERROR}
    assert all("0003" in error.text and "migrate" in error.advice for error in errors)


async def test_lost_rights_are_an_error_that_names_the_first(database_url: str, redis_url: str, crm: CrmServer) -> None:
    await execute_now(database_url, "DROP POLICY own_organisation ON marketing_sends")
    async with installation(database_url, redis_url, crm) as settings:
        errors = [one for one in of(await findings(settings), "postgresql") if one.level is Level.ERROR]
    assert errors
    assert all("CREATE POLICY own_organisation ON marketing_sends" in error.text for error in errors)


async def test_a_refused_log_in_of_the_relay_is_an_error_without_the_password(
    database_url: str, redis_url: str, crm: CrmServer
) -> None:
    async with Relay(tls="starttls", credentials=("user", "s3cret-of-relay")) as relay:
        relay.on(Step.AUTH, answer(535, "5.7.8 Authentication of user s3cret-of-relay failed"))
        async with installation(database_url, redis_url, crm, smtp_url=relay.url) as settings:
            (error,) = of(await findings(settings), "relay")
    assert error.level is Level.ERROR
    assert "535" in error.text
    assert "s3cret" not in error.text


async def test_the_relays_encryption_and_the_end_of_its_certificate_are_looked_at(
    database_url: str, redis_url: str, crm: CrmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        Relay(tls="implicit", pipelining=False) as relay,
        installation(database_url, redis_url, crm, smtp_url=relay.url) as settings,
    ):
        monkeypatch.setattr(doctor, "_MIN_CERTIFICATE_DAYS", 0)
        sound, slow = of(await findings(settings), "relay")
        monkeypatch.setattr(doctor, "_MIN_CERTIFICATE_DAYS", 100_000)
        ending = of(await findings(settings), "relay")[-1]
    assert "TLSv1." in sound.text
    assert (slow.level, "PIPELINING" in slow.text) == (Level.WARNING, True)
    assert (ending.level, "expires on" in ending.text) == (Level.WARNING, True)


@pytest.mark.parametrize(("ahead", "level"), [(5, Level.WARNING), (-3600, Level.ERROR)])
async def test_a_wrong_clock_is_found(
    database_url: str, redis_url: str, crm: CrmServer, monkeypatch: pytest.MonkeyPatch, ahead: float, level: Level
) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + ahead)
    async with installation(database_url, redis_url, crm) as settings:
        (clock,) = {*of(await findings(settings), "clock")}
    assert clock.level is level
    assert ("ahead of" if ahead > 0 else "behind") in clock.text


async def test_an_http_address_and_missing_bounces_are_warnings(
    database_url: str, redis_url: str, crm: CrmServer
) -> None:
    values = {"public_base_url": "http://news.example.com", "bounce_domain": None}
    async with installation(database_url, redis_url, crm, **values) as settings:
        found = await findings(settings, {"MARKETING_SMTP_CONECTIONS": "5", "HOME": "/"})
    warnings = {finding.part: finding for finding in found if finding.level is Level.WARNING}
    assert "not encrypted" in warnings["public address"].text
    assert "bounces" in warnings
    assert warnings["settings"].advice == "Did you mean MARKETING_SMTP_CONNECTIONS?"


def test_the_command_prints_a_table_or_json_and_exits_with_1_if_there_is_an_error() -> None:
    closed = free_port()
    environment = {
        "MARKETING_DATABASE_URL": f"postgresql://127.0.0.1:{closed}/x",
        "MARKETING_REDIS_URL": f"redis://127.0.0.1:{closed}/0",
        "MARKETING_CRM_URL": f"http://127.0.0.1:{closed}",
        "MARKETING_CRM_TOKEN": "x",
        "MARKETING_PUBLIC_BASE_URL": "https://news.example.com",
        "MARKETING_TOKEN_KEYS": "k" * 32,
        "MARKETING_JWT_SECRET": "s" * 32,
        "MARKETING_JWT_ISSUER": "x",
        "MARKETING_JWT_AUDIENCE": "x",
        "MARKETING_DNS_RESOLVER": f"127.0.0.1:{closed}",
    }

    def command(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / ".venv" / "bin" / "marketing-service", "doctor", *options],
            env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    table = command()
    assert (table.returncode, table.stderr) == (1, "")
    assert "error    postgresql (api)" in table.stdout
    found = json.loads(command("--json", "--process", "worker").stdout)
    assert {tuple(finding) for finding in found} == {("part", "level", "text", "advice")}
    assert not any(finding["part"] == "postgresql (api)" for finding in found)
    del environment["MARKETING_JWT_SECRET"]
    wrong = command()
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "MARKETING_JWT_SECRET" in wrong.stderr
