"""`make lint` checks the files in deploy/ with this: python -m tests.support.deploy_check.

Compose, promtool and systemd-analyze check their files if the machine has them; the output says what was skipped.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import yaml

from marketing_service.cli import create_parser
from marketing_service.errors import SettingsError
from marketing_service.settings import load_settings, unknown_settings
from tests.support import deploy_files as files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KUBERNETES = "1.34"
"""The version whose schemas the manifests must fit."""
MAX_EXPOSURE = 15
"""The limit for the score of `systemd-analyze security`, in tenths: 0 is no exposure, 100 is all."""
SKIPPED = "Skipped: "
_SECONDS = 120


def main() -> int:
    """Print what is wrong, one line each; returns the exit code."""
    found = [*processes(), *compose(), *kubernetes(), *systemd(), *prometheus(), *dashboard()]
    for line in found:
        print(line, file=sys.stderr)
    return 1 if any(not line.startswith(SKIPPED) for line in found) else 0


def processes(started: Sequence[files.Process] | None = None) -> Iterator[str]:
    """Whether each process understands its command line and its settings."""
    for process in files.processes() if started is None else started:
        where = f"deploy/{process.file}: {process.name}"
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                create_parser().parse_args(process.arguments)
        except SystemExit:
            yield f"{where}: {said.getvalue().splitlines()[-1]}"
        for name, near in unknown_settings(process.settings).items():
            yield f"{where}: {name} is no setting" + (f"; did you mean {near}?" if near else "")
        if process.arguments[:1] != ("migrate",):
            known = process.settings.keys() - unknown_settings(process.settings)
            try:
                load_settings(**{name.removeprefix("MARKETING_").lower(): process.settings[name] for name in known})
            except SettingsError as error:
                yield f"{where}: {error}"


def compose() -> Iterator[str]:
    if shutil.which("docker") is None or _run("docker", "compose", "version"):
        yield f"{SKIPPED}docker compose config. There is no Docker Compose on this machine."
        return
    env = ("--env-file", str(files.DEPLOY / "try" / "try.env"))
    for paths in ((files.COMPOSE,), (files.COMPOSE, files.COMPOSE_TRY)):
        named = [part for path in paths for part in ("-f", str(path))]
        yield from _run("docker", "compose", *env, *named, "--profile", "*", "config", "--quiet")


def kubernetes(manifests: Sequence[dict[str, Any]] | None = None) -> Iterator[str]:
    for item in files.load_manifests() if manifests is None else manifests:
        try:
            kubernetes_validate.validate(item, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            place = ".".join(map(str, error.path))
            yield f"deploy/kubernetes: {item['kind']} {item['metadata']['name']}: {place}: {error.message}"


def systemd(units: Sequence[Path] | None = None) -> Iterator[str]:
    if shutil.which("systemd-analyze") is None:
        yield f"{SKIPPED}systemd-analyze. It is not on this machine (on Debian: the package systemd)."
        return
    with tempfile.TemporaryDirectory() as name:
        copies = [_checkable(path, Path(name)) for path in (files.UNITS if units is None else units)]
        # Of an unknown option it only warns.
        yield from _run("systemd-analyze", "verify", "--man=no", *map(str, copies), warnings=True)
        for copy in copies:
            score = ("--offline=yes", f"--threshold={MAX_EXPOSURE}", "--no-pager", str(copy))
            yield from _run("systemd-analyze", "security", *score)


def _checkable(unit: Path, folder: Path) -> Path:
    """A copy whose program and files exist here. A template becomes its first instance."""
    text = unit.read_text(encoding="utf-8")
    text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text)
    text = re.sub(r"(?m)^EnvironmentFile=", "EnvironmentFile=-", text)
    copy = folder / unit.name.replace("@.", "@1.")
    copy.write_text(text, encoding="utf-8")
    return copy


def prometheus() -> Iterator[str]:
    if shutil.which("promtool") is None:
        yield f"{SKIPPED}promtool. It is not on this machine (on Debian: the package prometheus)."
        return
    yield from _run("promtool", "check", "rules", str(files.ALERTS))
    yield from _run("promtool", "test", "rules", str(files.ALERT_TESTS))
    with tempfile.TemporaryDirectory() as name:
        shutil.copy(files.ALERTS, name)
        for path in (files.DEPLOY / "prometheus").glob("*.yaml"):
            settings = yaml.safe_load(path.read_text(encoding="utf-8"))
            for job in settings.get("scrape_configs", []):
                # Debian's promtool does not know the discovery of Kubernetes.
                if job.pop("kubernetes_sd_configs", None):
                    job["static_configs"] = [{"targets": ["127.0.0.1:9100"]}]
            if "scrape_configs" in settings:
                copy = Path(name) / path.name
                copy.write_text(yaml.safe_dump(settings), encoding="utf-8")
                yield from _run("promtool", "check", "config", str(copy))


def dashboard() -> Iterator[str]:
    """Whether each expression is PromQL, also without promtool."""
    for place, expression in files.expressions().items():
        try:
            files.selectors(expression)
        except ValueError as error:
            yield f"{place}: {error}"


def _run(*command: str, warnings: bool = False) -> list[str]:
    """The output of a command that failed, or that warned, as lines; empty if it succeeded."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    if done.returncode == 0 and not (warnings and done.stderr):
        return []
    said = [f"  {line}" for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return [f"{' '.join(command)} ended with {done.returncode}:", *said]


if __name__ == "__main__":
    sys.exit(main())
