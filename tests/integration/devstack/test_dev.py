"""`marketing-service dev`, run as a developer runs it; a start takes seconds, so a test makes the most of it."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import asyncpg
import httpx

from marketing_service.devstack.postgres import PostgresServer
from tests.support.dev import ANY_PORT, running
from tests.support.orphans import descendants, wait_until_gone


def refusal(data_dir: Path, *flags: str) -> str:
    """What a run says that refuses to start."""
    with running(data_dir, *flags) as dev:
        assert dev.process.wait(60) == 1
        return dev.output


def test_a_data_directory_is_for_one_run_and_keeps_everything_until_told_to_forget(tmp_path: Path) -> None:
    """Through an orderly stop, a kill, a fresh start, and the death of a part; from a path with a space."""
    data_dir = tmp_path / "with a space"
    with running(data_dir, *ANY_PORT) as dev, httpx.Client() as http:
        ready = dev.ready()
        addresses = ("api", "crm", "crmToken", "databaseUrl", "inbox", "redisUrl", "smtp")
        assert sorted(ready) == sorted([*addresses, "env", "tokens"])
        assert sorted(ready["tokens"]) == ["admin", "otherOrg", "viewer"]
        assert (data_dir / "ready.json").stat().st_mode & 0o777 == 0o600
        login = http.post(
            f"{ready['api']}/api/auth/login", json={"email": "you@example.com", "password": "", "mfaCode": "1"}
        )
        admin = {"Authorization": f"Bearer {login.json()['accessToken']}"}
        campaigns = f"{ready['api']}/api/marketing/campaigns"
        made = http.post(campaigns, json={"name": "Kept", "subject": "Hello"}, headers=admin)
        assert made.status_code == 201, made.text
        crm = {"Authorization": f"Bearer {ready['crmToken']}"}
        ada = f"{ready['crm']}/api/crm/orgs/acme/contacts/contact-0000000"
        assert http.get(f"{ada}/../count", headers=crm).json() == {"count": 30}
        http.patch(ada, json={"marketingOptOut": True}, headers=crm)
        assert http.get(f"{ready['inbox']}/messages").json() == {"items": []}

        assert "Another `marketing-service dev` runs in" in refusal(data_dir, *ANY_PORT)
        port = ready["api"].rpartition(":")[2]
        said = refusal(tmp_path / "another", "--port", port)
        assert f"Port {port} is in use: choose another with --port" in said
        assert dev.stop(signal.SIGTERM) == 0
        assert not (data_dir / "ready.json").exists()

    with running(data_dir, *ANY_PORT) as dev, httpx.Client() as http:
        again = dev.ready()
        assert [again[name] for name in addresses] == [ready[name] for name in addresses]
        assert [item["name"] for item in http.get(campaigns, headers=admin).json()["items"]] == ["Kept"]
        assert http.get(ada, headers=crm).json()["marketingOptOut"] is True
        assert dev.stop(signal.SIGKILL) == -signal.SIGKILL

    with running(data_dir, *ANY_PORT, "--fresh", "--no-worker") as dev, httpx.Client() as http:
        fresh = dev.ready()
        assert fresh["crmToken"] != ready["crmToken"]
        assert not (data_dir / "logs" / "worker.log").exists()
        campaigns = f"{fresh['api']}/api/marketing/campaigns"
        admin = {"Authorization": f"Bearer {fresh['tokens']['admin']}"}
        assert http.get(campaigns, headers=admin).json()["items"] == []

        everything = descendants(dev.process.pid)
        os.kill(the_one_with("--dev-login", everything), signal.SIGKILL)
        assert dev.process.wait(60) == 1
        wait_until_gone(*everything)
        assert "The process `api` ended by itself, with 137" in dev.output


def test_data_of_another_version_is_refused_in_one_line_that_names_fresh(tmp_path: Path) -> None:
    data_dir = tmp_path / "old"
    with PostgresServer(data_dir / "postgres") as server:
        asyncio.run(_set_revision(server.url(), "9999"))
    lines = refusal(data_dir, *ANY_PORT).splitlines()
    (said,) = (line for line in lines if line.startswith("marketing-service dev: "))
    assert "--fresh" in said
    assert lines[-1] == said, "nothing follows, such as a traceback"


async def _set_revision(url: str, revision: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE marketing_schema_version (version_num varchar(32) PRIMARY KEY)")
    await connection.execute("INSERT INTO marketing_schema_version VALUES ($1)", revision)
    await connection.close()


def test_it_dies_with_its_parent_and_uses_what_the_environment_names(tmp_path: Path) -> None:
    """Two side by side, the second on the first's servers."""
    parent = (sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])")
    with running(tmp_path / "one", *ANY_PORT, "--no-worker", below=parent) as one:
        theirs = one.ready()
        given = {
            "MARKETING_DATABASE_URL": theirs["databaseUrl"],
            "MARKETING_REDIS_URL": theirs["redisUrl"],
            "MARKETING_SMTP_URL": theirs["smtp"],
            "MARKETING_SWEEP_SECONDS": "7",
        }
        with running(tmp_path / "two", *ANY_PORT, "--no-worker", **given) as two:
            ready = two.ready()
            assert ready["api"] != theirs["api"]
            assert [ready[name] for name in ("databaseUrl", "redisUrl", "smtp")] == list(given.values())[:3]
            assert ready["env"]["MARKETING_SWEEP_SECONDS"] == "7"
            assert not (tmp_path / "two" / "postgres" / "cluster").exists()

            one.stop(signal.SIGKILL)
            assert not (tmp_path / "one" / "ready.json").exists()
            assert httpx.get(f"{ready['api']}/healthz").status_code == 200


def the_one_with(word: str, pids: list[int]) -> int:
    """The process with this word in its command line; not its guard, whose words are in one."""
    (found,) = (pid for pid in pids if word in Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
    return found
