"""An installation as deploy/ makes it: three log-ins, a Valkey with a password, and every process with its metrics. The
expressions of the alerts and of the dashboard are compared with these metrics."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import subprocess
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import AuthenticationError, RedisError
from sqlalchemy import text

from marketing_service.db import Database
from marketing_service.devstack import postgres_programs
from marketing_service.devstack.contacts import ORG_ID
from marketing_service.devstack.postgres import PostgresServer
from marketing_service.devstack.process import free_port
from marketing_service.devstack.valkey import server_program
from marketing_service.queue import connect
from tests.acceptance.servers import admin_token, serve
from tests.support import deploy_files
from tests.support.fixtures import migrate
from tests.support.ledger import campaign_row, launched, send_rows
from tests.support.listeners import listener
from tests.support.lmtp import calling
from tests.support.relay import Relay, Step, answer, hang_up
from tests.support.reports import ADDRESSES, KEY, UNKNOWN_USER, complaint, delivery_report
from tests.support.workers import worker_environment, worker_process
from tests.support.world import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path


PASSWORDS = {"OWNER_PASSWORD": "an'owner", "API_PASSWORD": "an-api", "WORKER_PASSWORD": "a-worker"}
VALKEY_PASSWORD = "a-valkey"
RECIPIENTS = 6


@dataclass
class Installation:
    """The running servers and processes."""

    owner: Database
    """The database as the superuser."""
    redis_url: str
    targets: dict[str, int]
    """The ports of the metrics, by the name of the job."""

    async def series(self) -> dict[str, list[dict[str, str]]]:
        """The labels of each series, by metric, as Prometheus stores them."""
        found: dict[str, list[dict[str, str]]] = {}
        async with httpx.AsyncClient() as client:
            for job, port in self.targets.items():
                target = {"job": job, "instance": f"127.0.0.1:{port}"}
                # Prometheus itself adds this series for each target.
                found.setdefault("up", []).append(target)
                page = (await client.get(f"http://127.0.0.1:{port}/metrics")).raise_for_status().text
                for family in text_string_to_metric_families(page):
                    for sample in family.samples:
                        found.setdefault(sample.name, []).append(sample.labels | target)
        return found


@pytest.fixture(scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    folder = tmp_path_factory.mktemp("installation")
    async with AsyncExitStack() as stack:
        server = stack.enter_context(PostgresServer(folder / "postgres", durable=False))
        server.drop_database("marketing")
        create_roles(server)
        await asyncio.to_thread(migrate, as_user(server, "marketing_owner", PASSWORDS["OWNER_PASSWORD"]))
        redis_url = await stack.enter_async_context(valkey(folder))
        relay = await stack.enter_async_context(Relay())
        relay.on(Step.RCPT, answer(550, "Nobody knows this sentence"), nth=2)
        relay.on(Step.DOT, hang_up(accepting=True), nth=3)
        targets = {job: free_port() for job in ("marketing-api", "marketing-worker", "marketing-bounces")}
        api = environment(server, redis_url, relay, "marketing_api_login", PASSWORDS["API_PASSWORD"])
        worker = environment(server, redis_url, relay, "marketing_worker_login", PASSWORDS["WORKER_PASSWORD"])
        port = free_port()
        await stack.enter_async_context(serve(port, targets["marketing-api"], api, folder / "api.log"))
        metrics = ("--metrics-port", str(targets["marketing-worker"]))
        await stack.enter_async_context(worker_process(worker, folder / "worker.log", *metrics))
        metrics = ("--metrics-port", str(targets["marketing-bounces"]))
        _, lmtp = await stack.enter_async_context(listener(worker, *metrics))
        owner = Database(server.url(), role=None, pool_size=2)
        stack.push_async_callback(owner.close)
        await use(owner, port, lmtp)
        yield Installation(owner, redis_url, targets)


def create_roles(server: PostgresServer) -> None:
    """Run roles.sql as the container of PostgreSQL does."""
    psql, script = postgres_programs.programs() / "psql", deploy_files.DEPLOY / "postgres" / "roles.sql"
    options = ("--no-psqlrc", "--no-password", "-q", "-v", "ON_ERROR_STOP=1", "-d", server.url("postgres"))
    subprocess.run([psql, *options, "-f", script], env=os.environ | PASSWORDS, check=True)


def as_user(server: PostgresServer, user: str, password: str) -> str:
    return f"postgresql://{user}:{quote(password)}@127.0.0.1:{server.port}/marketing"


@asynccontextmanager
async def valkey(folder: Path) -> AsyncIterator[str]:
    """A Valkey that is started by the command of compose.yaml. Yields its URL, with the password."""
    service = deploy_files.load_compose(deploy_files.COMPOSE)["services"]["valkey"]
    shell, option, line = service["command"]
    assert service["environment"].keys() == {"VALKEY_PASSWORD"}
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        shell, option, f"{line.replace('$$', '$')} --bind 127.0.0.1 --port {port}",
        cwd=folder, stdout=asyncio.subprocess.DEVNULL,
        env={"PATH": f"{server_program().parent}:{os.environ['PATH']}", "VALKEY_PASSWORD": VALKEY_PASSWORD},
    )  # fmt: skip
    url = f"redis://:{VALKEY_PASSWORD}@127.0.0.1:{port}/0"
    client = connect(url)

    async def answers() -> bool:
        assert process.returncode is None
        try:
            return bool(await client.ping())
        except AuthenticationError:  # it does not pass by itself
            raise
        except RedisError:
            return False

    try:
        await until(answers)
        await client.aclose(close_connection_pool=True)
        yield url
    finally:
        process.terminate()
        await process.wait()


def environment(server: PostgresServer, redis_url: str, relay: Relay, user: str, password: str) -> dict[str, str]:
    return worker_environment(
        database_url=as_user(server, user, password), redis_url=redis_url, smtp_url=relay.url,
        bounce_domain=ADDRESSES.domain, token_keys=KEY, smtp_connections="1", log_level="INFO",
    )  # fmt: skip


async def use(owner: Database, port: int, lmtp: int) -> None:
    """Let every kind of thing happen once that an expression of an alert or of the dashboard names."""
    campaign_id = await launched(owner, RECIPIENTS, org_id=ORG_ID)

    async def sent() -> bool:
        return bool((await campaign_row(owner, campaign_id))["status"] == "SENT")

    await until(sent)
    sends = await send_rows(owner, campaign_id)
    assert {send["status"] for send in sends} == {"DELIVERED", "FAILED", "UNCONFIRMED"}
    bounced, complaining, *_ = (send for send in sends if send["status"] == "DELIVERED")
    async with calling(lmtp) as mail_server:
        for send, report in ((bounced, delivery_report(UNKNOWN_USER)), (complaining, complaint(complaining["id"]))):
            [reply] = await mail_server.addresses(ADDRESSES.of(send["id"], send["attempts"]))
            assert reply.startswith("250")
            [reply] = await mail_server.sends(report)
            assert reply.startswith("250"), reply
    token = {"Authorization": f"Bearer {admin_token()}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        assert (await client.get("/api/marketing/campaigns", headers=token)).status_code == 200
        # The CRM of this installation does not answer.
        assert (await client.get("/api/marketing/contact-statuses", headers=token)).status_code == 503


async def test_each_process_uses_its_own_log_in_and_can_take_no_other_role(installation: Installation) -> None:
    async with installation.owner.transaction() as tx:
        users = await tx.connection.execute(
            text(
                "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = 'marketing' AND usename <> current_user"
            )
        )
        memberships = await tx.connection.execute(
            text(
                "SELECT member::regrole::text, roleid::regrole::text FROM pg_auth_members"
                " WHERE member::regrole::text LIKE 'marketing%login'"
            )
        )
        may_create_roles = await tx.connection.execute(
            text("SELECT rolname FROM pg_roles WHERE rolname LIKE 'marketing\\_%' AND (rolcreaterole OR rolsuper)")
        )
    assert set(users.scalars()) == {"marketing_api_login", "marketing_worker_login"}
    assert {tuple(row) for row in memberships} == {
        ("marketing_api_login", "marketing_api"),
        ("marketing_worker_login", "marketing_worker"),
    }
    assert list(may_create_roles.scalars()) == []


async def test_valkey_refuses_a_client_without_its_password(installation: Installation) -> None:
    client = connect(installation.redis_url.replace(f":{VALKEY_PASSWORD}@", ""))
    with pytest.raises(AuthenticationError):
        await client.ping()
    await client.aclose(close_connection_pool=True)


async def test_every_expression_names_metrics_and_labels_that_the_processes_have(installation: Installation) -> None:
    series = await installation.series()
    wrong = [
        f"{place}: {problem}"
        for place, expression in deploy_files.expressions().items()
        for problem in unknown_names(expression, series)
    ]
    assert wrong == []


def unknown_names(expression: str, series: dict[str, list[dict[str, str]]]) -> Iterator[str]:
    for selector in deploy_files.selectors(expression):
        selected = [labels for labels in series.get(selector.metric, []) if selector.fits(labels)]
        if not selected:
            yield f"no series fits {selector}"
        missing = deploy_files.grouping(expression) - {label for labels in selected for label in labels}
        if selected and missing:
            yield f"{selector.metric} has no label {sorted(missing)}"


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("sum(rate(marketing_submitted_total[5m]))", "no series fits"),
        ('marketing_submissions_total{outcome="ACCEPTD"}', "no series fits"),
        ('marketing_submissions_total{result="ACCEPTED"}', "no series fits"),
        ("sum by (result) (marketing_submissions_total)", "has no label ['result']"),
    ],
)
async def test_an_unknown_metric_label_or_value_is_found(
    installation: Installation, expression: str, said: str
) -> None:
    [problem] = unknown_names(expression, await installation.series())
    assert said in problem


@pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed (Debian's package prometheus)"
)
async def test_a_real_prometheus_evaluates_every_rule_and_every_panel(
    installation: Installation, tmp_path: Path
) -> None:
    async with prometheus(installation.targets, tmp_path) as client:

        async def evaluated() -> bool:
            found = await rules(client)
            return len(found) == len(deploy_files.alerts()) and all(rule["health"] != "unknown" for rule in found)

        await until(evaluated, seconds=60)
        assert [(rule["name"], rule["lastError"]) for rule in await rules(client) if rule["health"] != "ok"] == []
        assert await jobs_up(client) == set(installation.targets)
        for place, expression in deploy_files.expressions().items():
            response = await client.get("/api/v1/query", params={"query": expression})
            assert response.json()["status"] == "success", (place, response.text)


@asynccontextmanager
async def prometheus(targets: dict[str, int], folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A Prometheus with our rules that has scraped every target."""
    settings = yaml.safe_load((deploy_files.DEPLOY / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8"))
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in settings["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    shutil.copy(deploy_files.ALERTS, folder)
    port = free_port()
    arguments: Sequence[str] = (
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    process = await asyncio.create_subprocess_exec("prometheus", *arguments, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:

            async def scraped() -> bool:
                assert process.returncode is None
                try:
                    return await jobs_up(client) == set(targets)
                except httpx.HTTPError:
                    return False

            await until(scraped, seconds=60)
            yield client
    finally:
        process.terminate()
        await process.wait()


async def jobs_up(client: httpx.AsyncClient) -> set[str]:
    response = (await client.get("/api/v1/query", params={"query": "up == 1"})).raise_for_status()
    return {result["metric"]["job"] for result in response.json()["data"]["result"]}


async def rules(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    groups = (await client.get("/api/v1/rules")).raise_for_status().json()["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


async def test_the_crm_to_try_answers_its_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_TOKEN", "only-to-try")
    monkeypatch.setenv("CONTACTS", "20")
    path = deploy_files.DEPLOY / "try" / "crm.py"
    spec = importlib.util.spec_from_file_location("crm", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    transport = httpx.ASGITransport(module.create_app())
    headers = {"Authorization": "Bearer only-to-try"}
    async with httpx.AsyncClient(transport=transport, base_url="http://crm:8080", headers=headers) as client:
        response = await client.get(f"/api/crm/orgs/{ORG_ID}/contacts/count")
    assert response.json() == {"count": 20}
