"""Generated requests, valid and invalid, single and in sequence, against the whole service: nothing breaks, and every
response is described in `openapi/marketing.yaml`."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.dev import ANY_PORT, running, unmeasured_environment
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
SEED = "1"
INTERNAL = "^/(healthz|readyz|metrics)$"


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    data_dir = tmp_path_factory.mktemp("contract") / "dev"
    with running(data_dir, *ANY_PORT, "--contacts", "25", MARKETING_RETRY_DELAYS="0.3,0.3") as dev:
        yield dev.ready()


def sent(ready: dict[str, Any]) -> dict[str, str]:
    """Send a campaign. Returns its id, the id of a send, and the tokens of a message."""
    link = "<a href='https://shop.example/'>Hello</a>"
    message = {"name": "Sent", "subject": "Sent", "htmlBody": link, "trackClicks": True}
    with httpx.Client(base_url=f"{ready['api']}/api/marketing", headers=authorization(ready)) as api:
        campaign = api.post("/campaigns", json=message).json()["id"]
        api.post(f"/campaigns/{campaign}/launch").raise_for_status()
        deadline = time.monotonic() + 60
        while api.get(f"/campaigns/{campaign}").json()["status"] != "SENT":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        failed = api.get(f"/campaigns/{campaign}/sends?status=FAILED").json()["items"][0]
    mail = httpx.get(f"{ready['inbox']}/messages?limit=1").json()["items"][0]["html"]
    tokens = {kind: re.findall(rf"/{kind}/([\w-]+)", mail)[0] for kind in ("pixel", "click", "unsubscribe")}
    return {
        "campaign": campaign,
        "send": failed["id"],
        "open_token": tokens["pixel"],
        "click_token": tokens["click"],
        "unsubscribe_token": tokens["unsubscribe"],
    }


def authorization(ready: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {ready['tokens']['admin']}"}


def test_every_response_is_described_in_the_contract(
    ready: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Runs Schemathesis with all checks. `--full` runs it longer, and `--fuzz` with 500 examples for each operation."""
    configuration = tmp_path / CONFIGURATION.name
    configuration.write_text(Template(CONFIGURATION.read_text()).substitute(sent(ready)))
    extent = ["-n", "6"]
    if request.config.getoption("--fuzz"):
        extent = ["-n", "500"]
    elif request.config.getoption("--full"):
        extent = ["--max-time", "300", "-n", "100"]
    ended = schemathesis(
        configuration, ready["api"], "--exclude-path-regex", INTERNAL, *extent,
        "-H", f"Authorization: {authorization(ready)['Authorization']}",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅  {phase}" in ended.stdout


def test_the_internal_port_keeps_the_contract(ready: dict[str, Any], tmp_path: Path) -> None:
    configuration = tmp_path / CONFIGURATION.name
    configuration.write_text("", encoding="utf-8")
    ended = schemathesis(configuration, ready["internal"], "--include-path-regex", INTERNAL, "-n", "3")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Selected: 3/" in ended.stdout


def schemathesis(configuration: Path, url: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run all checks against the service at `url`. They are the default; `--checks all` would switch those on again
    that the configuration switches off for an operation."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", str(configuration)),
            *("run", str(ROOT / "openapi" / "marketing.yaml"), "--url", url),
            *("--seed", SEED, "--warnings", "off", *options),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=configuration.parent,
        env=unmeasured_environment(),
    )
