"""Reads deploy/: the processes that its files start, the alerts, and the expressions of alerts and dashboard."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import promql_parser
import yaml

from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEPLOY = ROOT / "deploy"
COMPOSE, COMPOSE_TRY = DEPLOY / "compose.yaml", DEPLOY / "compose.try.yaml"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
ALERTS, ALERT_TESTS = DEPLOY / "prometheus" / "alerts.yaml", DEPLOY / "prometheus" / "alerts_test.yaml"
DASHBOARD = DEPLOY / "grafana" / "marketing.json"
RUNBOOK = ROOT / "docs" / "runbook.md"
VERSION = str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])

_PROGRAM = "/opt/marketing/bin/marketing-service"
# What the operator fills in.
_FILLED = {"MARKETING_CRM_TOKEN": "a-token", "MARKETING_TOKEN_KEYS": "a-key-of-at-least-thirty-two-bytes"}
_SECRET = re.compile(r"^#   (marketing\S*) +(MARKETING_\w+(?:, MARKETING_\w+)*)", re.MULTILINE)
_VARIABLE = re.compile(r"\$\{(\w+):\?[^}]*\}")
_CMD = re.compile(r"^CMD (\[.+\])$", re.MULTILINE)


@dataclass(frozen=True)
class Process:
    """A process that a file starts: the arguments after `marketing-service`, and the settings that it gets."""

    file: str
    name: str
    arguments: tuple[str, ...]
    settings: dict[str, str]


class _ComposeLoader(yaml.SafeLoader):
    """`!reset` removes what an earlier file has set."""


_ComposeLoader.add_constructor("!reset", lambda *_: None)


def load_compose(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _ComposeLoader)
    return loaded


def load_manifests() -> list[dict[str, Any]]:
    return [item for path in MANIFESTS for item in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def unit_options(path: Path) -> list[tuple[str, str]]:
    """The options of a unit in their order; an option may be there several times."""
    lines = path.read_text(encoding="utf-8").splitlines()
    options = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return [(name, value) for name, value in options]


@cache
def processes() -> tuple[Process, ...]:
    """Every process of the service that a file of deploy/ starts."""
    return (*_of_compose(trying=False), *_of_compose(trying=True), *_of_manifests(), *_of_units())


def _env_file(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: value or _FILLED.get(name, "") for name, value in values.items()}


def _of_compose(*, trying: bool) -> Iterator[Process]:
    files = (COMPOSE, COMPOSE_TRY) if trying else (COMPOSE,)
    passwords = _env_file(DEPLOY / "try" / "try.env") if trying else dict.fromkeys(_passwords(), "password")
    services: dict[str, dict[str, Any]] = {}
    for path in files:
        for name, service in load_compose(path)["services"].items():
            before = services.get(name, {})
            environment = before.get("environment", {}) | service.get("environment", {})
            services[name] = before | service | {"environment": environment}
    for name, service in services.items():
        if service["image"] == "marketing-service" and "entrypoint" not in service:
            common = _env_file(DEPLOY / "marketing.env.example") if service["env_file"] else {}
            own = {key: _VARIABLE.sub(lambda found: passwords[found[1]], value) for key, value in _settings(service)}
            yield Process(files[-1].name, name, tuple(service.get("command", image_command())), common | own)


def _passwords() -> list[str]:
    return list(_env_file(DEPLOY / "compose.env.example"))


def _settings(service: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in service["environment"].items():
        if key.startswith("MARKETING_"):
            yield key, value


def image_command() -> tuple[str, ...]:
    """The arguments that a container gets if its file names none."""
    found = _CMD.search((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert found is not None
    return tuple(json.loads(found[1]))


def _of_manifests() -> Iterator[Process]:
    manifests = load_manifests()
    known = {key: value for path in DEPLOY.rglob("marketing.env.example") for key, value in _env_file(path).items()}
    config = {item["metadata"]["name"]: item["data"] for item in manifests if item["kind"] == "ConfigMap"}
    secrets = {
        name: {key: known.get(key) or _database_url(name) for key in keys.split(", ")}
        for name, keys in _SECRET.findall((DEPLOY / "kubernetes" / "config.yaml").read_text(encoding="utf-8"))
    }
    for item in manifests:
        for container in containers(item):
            settings: dict[str, str] = {}
            for source in container["envFrom"]:
                settings |= config[source["configMapRef"]["name"]] if "configMapRef" in source else {}
                settings |= secrets[source["secretRef"]["name"]] if "secretRef" in source else {}
            arguments = tuple(container.get("args", image_command()))
            yield Process("kubernetes", item["metadata"]["name"], arguments, settings)


def _database_url(secret: str) -> str:
    user = "marketing_owner" if secret == "marketing-owner" else f"{secret.replace('-', '_')}_login"
    return f"postgresql://{user}:password@db.example.com/marketing"


def containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of the manifest's pods, if it has pods."""
    found: list[dict[str, Any]] = manifest.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
    return found


def _of_units() -> Iterator[Process]:
    for path in UNITS:
        settings: dict[str, str] = {}
        arguments: list[str] = []
        for option, value in unit_options(path):
            if option == "EnvironmentFile":
                [example] = DEPLOY.rglob(f"{value.removeprefix('/etc/marketing/')}.example")
                settings |= _env_file(example)
            elif option == "ExecStart":
                program, *arguments = shlex.split(value.replace("%i", "1"))
                assert program == _PROGRAM, program
        yield Process("systemd", path.name, tuple(arguments), settings)


# ── alerts and dashboard ──


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard, without its rows."""
    found = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def expressions() -> dict[str, str]:
    """Every expression of the alerts and of the dashboard, by its place."""
    of_alerts = {rule["alert"]: rule["expr"] for rule in alerts()}
    of_panels = {
        f"{panel['title']} ({target['refId']})": target["expr"].replace("$__rate_interval", "5m")
        for panel in panels()
        for target in panel["targets"]
    }
    return of_alerts | of_panels


@dataclass(frozen=True)
class Selector:
    """The series that an expression reads: a metric, and the conditions on its labels."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]
    """Label, operator (`Equal`, `NotEqual`, `Re`, `NotRe`) and value."""

    def fits(self, labels: dict[str, str]) -> bool:
        return all(_matches(labels.get(label, ""), operator, value) for label, operator, value in self.matchers)


def _matches(actual: str, operator: str, value: str) -> bool:
    is_equal = re.fullmatch(value, actual) is not None if operator.endswith("Re") else actual == value
    return not is_equal if operator.startswith("Not") else is_equal


def selectors(expression: str) -> list[Selector]:
    """What an expression reads. Raises ValueError if it is no PromQL."""
    found: list[Selector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = ((one.name, str(one.op).rpartition(".")[2], one.value) for one in node.matchers.matchers)
            found.append(Selector(str(node.name), tuple(matchers)))

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def grouping(expression: str) -> set[str]:
    """The labels by which an expression groups its results."""
    found: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            found.update(node.modifier.labels)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found
