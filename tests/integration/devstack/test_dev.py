"""`marketing-service dev`, run as a developer runs it. A start takes seconds, so each test checks many things."""

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


def startup_error(data_dir: Path, *flags: str) -> str:
    """The output of a run that does not start."""
    with running(data_dir, *flags) as dev:
        assert dev.process.wait(60) == 1
        return dev.output


def test_a_data_directory_is_for_one_run_and_keeps_everything_until_fresh(tmp_path: Path) -> None:
    """Over a clean stop, a kill, a fresh start and the end of one process. The path contains a space."""
    data_dir = tmp_path / "with a space"
    with running(data_dir, *ANY_PORT) as dev, httpx.Client() as http:
        ready = dev.ready()
        addresses = ("api", "crm", "crmToken", "databaseUrl", "inbox", "internal", "redisUrl", "smtp")
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

        assert "Another `marketing-service dev` is running in" in startup_error(data_dir, *ANY_PORT)
        port = ready["api"].rpartition(":")[2]
        output = startup_error(tmp_path / "another", "--port", port)
        assert f"Port {port} is in use. Choose another one with --port" in output
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
        os.kill(process_with_argument("--dev-login", everything), signal.SIGKILL)
        assert dev.process.wait(60) == 1
        wait_until_gone(*everything)
        assert "The process `api` ended by itself with exit code 137" in dev.output


def test_data_of_another_version_is_refused_in_one_line_that_names_fresh(tmp_path: Path) -> None:
    data_dir = tmp_path / "old"
    with PostgresServer(data_dir / "postgres") as server:
        asyncio.run(_set_revision(server.url(), "9999"))
    lines = startup_error(data_dir, *ANY_PORT).splitlines()
    (said,) = (line for line in lines if line.startswith("marketing-service dev: "))
    assert "--fresh" in said
    assert lines[-1] == said, "nothing follows, such as a traceback"


async def _set_revision(url: str, revision: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE marketing_schema_version (version_num varchar(32) PRIMARY KEY)")
    await connection.execute("INSERT INTO marketing_schema_version VALUES ($1)", revision)
    await connection.close()


def test_it_ends_with_its_parent_and_uses_the_servers_of_the_environment(tmp_path: Path) -> None:
    """Two runs at the same time. The second one uses the servers of the first one."""
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
            assert httpx.get(f"{ready['internal']}/healthz").status_code == 200


def process_with_argument(argument: str, pids: list[int]) -> int:
    """The process with this command-line argument. Its guard has the whole command line in a single argument."""
    (found,) = (pid for pid in pids if argument in Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
    return found
