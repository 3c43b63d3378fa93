"""The files in deploy/: what `make lint` does not say, and that its checks find mistakes."""

from __future__ import annotations

import copy
import re
import shutil
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.support import deploy_check, deploy_files
from tests.support.deploy_files import Process, selectors

if TYPE_CHECKING:
    from pathlib import Path

MANIFESTS = deploy_files.load_manifests()
DEPLOYMENTS = [item for item in MANIFESTS if item["kind"] == "Deployment"]
UNITS = deploy_files.UNITS
LOG_INS = {
    "serve": "marketing_api_login",
    "worker": "marketing_worker_login",
    "bounces": "marketing_worker_login",
    "migrate": "marketing_owner",
}
RULES = {str(rule["alert"]): rule for rule in deploy_files.alerts()}


def of_kind(kind: str, name: str) -> dict[str, Any]:
    [found] = [item for item in MANIFESTS if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def named(process: Process) -> str:
    return f"{process.file}-{process.name}"


# ── all of them ──


def test_every_process_is_started_by_each_kind_of_file() -> None:
    started: dict[str, set[str]] = {}
    for process in deploy_files.processes():
        started.setdefault(process.file, set()).add(process.arguments[0])
    files = ("compose.yaml", "compose.try.yaml", "kubernetes", "systemd")
    assert started == {file: set(LOG_INS) for file in files}


@pytest.mark.parametrize("process", deploy_files.processes(), ids=named)
def test_a_process_understands_its_command_and_its_settings(process: Process) -> None:
    assert list(deploy_check.processes([process])) == []


@pytest.mark.parametrize("process", deploy_files.processes(), ids=named)
def test_a_process_gets_its_own_log_in_and_no_other(process: Process) -> None:
    urls = [value for value in process.settings.values() if value.startswith("postgresql:")]
    assert [urlsplit(url).username for url in urls] == [LOG_INS[process.arguments[0]]]


@pytest.mark.parametrize("process", deploy_files.processes(), ids=named)
def test_a_process_shows_its_metrics(process: Process) -> None:
    wanted = {"serve": "--internal-port", "worker": "--metrics-port", "bounces": "--metrics-port"}
    assert process.arguments[0] == "migrate" or wanted[process.arguments[0]] in process.arguments


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (("serve", "--internal-prot", "1"), {}, "unrecognized arguments: --internal-prot 1"),
        (("worker",), {"MARKETING_SMPT_URL": ""}, "MARKETING_SMPT_URL is no setting; did you mean MARKETING_SMTP_URL?"),
        (("worker",), {"MARKETING_REDIS_URL": "http://x"}, "MARKETING_REDIS_URL"),
    ],
)
def test_a_wrong_command_or_setting_is_found(arguments: tuple[str, ...], settings: dict[str, str], said: str) -> None:
    good = next(process for process in deploy_files.processes() if process.arguments[0] == "worker")
    [problem] = deploy_check.processes([Process("compose.yaml", "api", arguments, good.settings | settings)])
    assert problem.startswith("deploy/compose.yaml: api: ")
    assert said in problem


# ── Compose ──


def test_the_password_of_valkey_is_in_every_address() -> None:
    for process in deploy_files.processes():
        if process.file.startswith("compose") and process.arguments[0] != "migrate":
            assert urlsplit(process.settings["MARKETING_REDIS_URL"]).password in {"password", "only-to-try"}


@pytest.mark.parametrize("path", [deploy_files.COMPOSE, deploy_files.COMPOSE_TRY], ids=lambda path: path.name)
def test_compose_publishes_ports_on_this_machine_only(path: Path) -> None:
    services = deploy_files.load_compose(path)["services"].values()
    published = [port for service in services for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_compose_names_the_passwords_that_it_needs() -> None:
    text = deploy_files.COMPOSE.read_text(encoding="utf-8")
    example = (deploy_files.DEPLOY / "compose.env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{(\w+)", text)) == set(re.findall(r"^(\w+)=$", example, re.MULTILINE))


# ── Kubernetes ──


def test_the_manifests_have_the_form_that_kubernetes_needs() -> None:
    assert list(deploy_check.kubernetes(MANIFESTS)) == []


def test_a_misspelt_field_of_a_manifest_is_found() -> None:
    wrong = copy.deepcopy(of_kind("Deployment", "marketing-worker"))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    [problem] = deploy_check.kubernetes([wrong])
    assert "Deployment marketing-worker: spec.template.spec.containers.0:" in problem
    assert "livenesProbe" in problem


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda item: item["metadata"]["name"])
def test_each_deployment_is_bounded_probed_and_protected(deployment: dict[str, Any]) -> None:
    name = deployment["metadata"]["name"]
    [container] = deploy_files.containers(deployment)
    assert container["resources"]["limits"].keys() == {"cpu", "memory"} == container["resources"]["requests"].keys()
    assert "livenessProbe" in container
    assert container.keys() & {"readinessProbe", "startupProbe"}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == {"app": name}
    assert labels == {"app": name, "app.kubernetes.io/part-of": "marketing"}
    assert of_kind("PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"] == {"app": name}
    scalers = [item["metadata"]["name"] for item in MANIFESTS if item["kind"] == "HorizontalPodAutoscaler"]
    # With both, each `kubectl apply` would set the number of replicas back.
    assert ("replicas" in deployment["spec"]) == (name not in scalers)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda item: item["metadata"]["name"])
def test_probes_and_services_name_ports_at_which_the_process_listens(deployment: dict[str, Any]) -> None:
    [container] = deploy_files.containers(deployment)
    name = deployment["metadata"]["name"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    arguments = container.get("args", deploy_files.image_command())
    options = dict(pairwise(arguments))
    listening = {int(options[option]) for option in options if option.endswith("-port") or option == "--port"}
    assert set(ports.values()) == listening
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        for check in container.get(probe, {}).values():
            assert not isinstance(check, dict) or check["port"] in ports
    for item in MANIFESTS:
        if item["kind"] == "Service" and item["spec"]["selector"] == {"app": name}:
            assert {port["targetPort"] for port in item["spec"]["ports"]} <= ports.keys()


def test_the_network_policy_refuses_what_is_not_named() -> None:
    everything = of_kind("NetworkPolicy", "marketing")["spec"]
    assert everything["podSelector"]["matchLabels"] == {"app.kubernetes.io/part-of": "marketing"}
    assert everything["policyTypes"] == ["Ingress", "Egress"]
    names = {port["name"] for item in DEPLOYMENTS for port in deploy_files.containers(item)[0]["ports"]}
    policies = [item["spec"] for item in MANIFESTS if item["kind"] == "NetworkPolicy"]
    incoming = [rule for policy in policies for rule in policy.get("ingress", [])]
    assert {port["port"] for rule in incoming for port in rule["ports"]} == names
    assert all(rule["from"] for rule in incoming)


def test_the_migration_knows_nothing_but_its_database() -> None:
    [job] = [item for item in MANIFESTS if item["kind"] == "Job"]
    [container] = deploy_files.containers(job)
    assert container["envFrom"] == [{"secretRef": {"name": "marketing-owner"}}]
    assert job["metadata"]["name"] == f"marketing-migrate-{deploy_files.VERSION.replace('.', '-')}"


# ── systemd ──


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_each_unit_is_confined_and_has_its_own_environment_file(unit: Path) -> None:
    options = deploy_files.unit_options(unit)
    own = f"/etc/marketing/{re.sub(r'marketing-|@?[.]service', '', unit.name)}.env"
    common = [] if unit.name == "marketing-migrate.service" else ["/etc/marketing/marketing.env"]
    assert [value for name, value in options if name == "EnvironmentFile"] == [*common, own]
    values = dict(options)
    assert values["RestrictAddressFamilies"] == "AF_INET AF_INET6 AF_UNIX"
    assert values["MemoryMax"] in {"256M", "512M"}
    filters = [value for name, value in options if name == "SystemCallFilter"]
    assert filters == ["@system-service", "~@privileged @resources"]


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (Debian's package systemd)"
)


@needs_systemd
@pytest.mark.parametrize(
    ("option", "changed", "said"),
    [
        ("MemoryMax=", "MemoryMaximum=", "MemoryMaximum"),
        ("Restart=always", "Restart=sometimes", "sometimes"),
        ("CapabilityBoundingSet=", "AmbientCapabilities=CAP_SYS_ADMIN CAP_NET_ADMIN #", "security"),
        ("SystemCallFilter=", "# SystemCallFilter=", "security"),
    ],
)
def test_a_wrong_or_missing_option_of_a_unit_is_found(option: str, changed: str, said: str, tmp_path: Path) -> None:
    units = []
    for unit in UNITS:
        text = unit.read_text(encoding="utf-8")
        units.append(tmp_path / unit.name)
        units[-1].write_text(text.replace(option, changed) if "worker" in unit.name else text, encoding="utf-8")
    problems = "\n".join(deploy_check.systemd(units))
    assert said in problems
    assert "marketing-worker@1.service" in problems


@needs_systemd
def test_the_units_are_right() -> None:
    assert list(deploy_check.systemd(UNITS)) == []


# ── alerts and dashboard; acceptance/test_deployment.py compares their expressions with real metrics ──


def test_each_alert_has_a_name_of_its_own_and_a_severity() -> None:
    assert len(RULES) == len(deploy_files.alerts())
    for rule in RULES.values():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "runbook"}


def test_each_alert_has_a_paragraph_in_the_runbook_and_each_paragraph_an_alert() -> None:
    headings = re.findall(r"^### (\w+)\n\n(?=\S)", deploy_files.RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == list(RULES)
    for name, rule in RULES.items():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"


def test_each_alert_is_tested_before_its_time_and_after() -> None:
    """`make lint` runs these tests, if the machine has promtool."""
    cases = yaml.safe_load(deploy_files.ALERT_TESTS.read_text(encoding="utf-8"))["tests"]
    fires: set[str] = set()
    stays: set[str] = set()
    for case in cases:
        for test in case["promql_expr_test"]:
            [selector] = selectors(test["expr"])
            assert selector.metric == "ALERTS"
            matching = {name for name in RULES if selector.fits(as_firing(name))}
            if test["exp_samples"]:
                fires |= matching
            else:
                stays |= matching
    assert fires == stays == set(RULES)


def as_firing(name: str) -> dict[str, str]:
    return {"alertname": name, "alertstate": "firing", "severity": RULES[name]["labels"]["severity"]}


def test_no_two_panels_of_the_dashboard_overlap_or_share_an_id() -> None:
    panels = deploy_files.panels()
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


def test_the_dashboard_reads_the_prometheus_that_its_user_selects() -> None:
    for panel in deploy_files.panels():
        assert panel["title"]
        assert panel["description"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_what_is_no_promql_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"\S"):
        selectors("sum(rate(marketing_sends[5m])")


@pytest.mark.parametrize(
    ("matcher", "labels", "fits"),
    [
        ('status="5xx"', {"status": "5xx"}, True),
        ('status="5xx"', {"status": "2xx"}, False),
        ('status!="5xx"', {}, True),
        ('job=~"marketing-.+"', {"job": "marketing-api"}, True),
        ('job=~"marketing"', {"job": "marketing-api"}, False),
        ('job!~"marketing-.+"', {"job": "marketing-api"}, False),
    ],
)
def test_a_selector_fits_as_in_prometheus(matcher: str, labels: dict[str, str], fits: bool) -> None:
    [selector] = selectors(f"x{{{matcher}}}")
    assert selector.fits(labels) is fits
