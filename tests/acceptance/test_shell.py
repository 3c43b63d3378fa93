"""`marketing-service campaigns`, as a person uses it: the commands call the API of a running service."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from marketing_service.cli import main
from marketing_service.shell.api import Api
from marketing_service.shell.errors import CommandFailed
from marketing_service.shell.export import export
from tests.support.sql import execute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.acceptance.portal import Portal


@pytest.fixture
def environment(portal: Portal) -> dict[str, str]:
    return {"MARKETING_API_URL": portal.ready["api"], "MARKETING_API_TOKEN": portal.ready["tokens"]["admin"]}


@pytest.fixture
def run(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `campaigns` in this process. Returns the exit code, the output and the errors."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main(["campaigns", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


def test_a_draft_is_found_launched_watched_and_shown(portal: Portal, run: Callable[..., tuple[int, str, str]]) -> None:
    draft = portal.save("CUSTOMER", name="From a shell")
    code, listed, _ = run("list", "--status", "DRAFT", "--limit", 200)
    assert code == 0
    (line,) = (line for line in listed.splitlines() if line.startswith(draft["id"]))
    assert line.split() == [draft["id"], "DRAFT", "From", "a", "shell"]
    code, watched, _ = run("launch", draft["id"], "--watch")
    assert code == 0
    assert watched.splitlines()[-1].startswith(f"Sent    [{'#' * 30}] 100 %")
    code, shown, _ = run("show", draft["id"])
    facts = dict(line.split(maxsplit=1) for line in shown.splitlines())
    stats = portal.stats(draft["id"])
    assert (code, facts["status"], facts["delivered"]) == (0, "SENT", str(stats["delivered"]))


def test_json_is_what_the_api_says(portal: Portal, run: Callable[..., tuple[int, str, str]]) -> None:
    draft = portal.save("LEAD", name="As JSON")
    code, launched, _ = run("launch", draft["id"], "--json")
    assert (code, json.loads(launched)["status"]) == (0, "SENDING")
    code, watched, _ = run("watch", draft["id"], "--json")
    snapshots: list[dict[str, Any]] = [json.loads(line) for line in watched.splitlines()]
    assert (code, snapshots[-1]["status"]) == (0, "SENT")
    _, shown, _ = run("show", draft["id"], "--json")
    campaign = portal.api.get(f"/campaigns/{draft['id']}").json()
    assert json.loads(shown) == campaign | {"stats": portal.stats(draft["id"])}
    _, listed, _ = run("list", "--limit", 2, "--json")
    assert [item["id"] for item in json.loads(listed)] == [
        item["id"] for item in portal.api.get("/campaigns?limit=2").json()["items"]
    ]


def test_a_launch_that_failed_ends_the_watch_with_1_and_the_reason(
    portal: Portal, run: Callable[..., tuple[int, str, str]]
) -> None:
    campaign = portal.save("LEAD")["id"]
    execute(
        portal.ready["databaseUrl"],
        "UPDATE marketing_campaigns SET status = 'FAILED', failure_code = 'NO_RELAY', failure_message = 'No relay.'"
        f" WHERE id = '{campaign}'",
    )
    code, _, errors = run("watch", campaign)
    assert (code, errors) == (1, "marketing-service: The launch failed, and nothing was sent: No relay.\n")


def test_every_refusal_is_one_line_with_a_code_of_its_own(
    portal: Portal, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = portal.launch("LEAD")["id"]
    unknown = "0197c1b2-a3d4-7000-8000-000000000000"
    for arguments, code, words in [
        (("launch", sent), os.EX_DATAERR, "This campaign is SENT."),
        (("show", unknown), os.EX_NOINPUT, "There is no such campaign."),
        (("watch", unknown), os.EX_NOINPUT, "There is no such campaign."),
    ]:
        ended, _, errors = run(*arguments)
        assert ended == code
        assert errors.startswith(f"marketing-service: {words}")
        assert errors.count("\n") == 1
    monkeypatch.setenv("MARKETING_API_TOKEN", "made-up")
    ended, _, errors = run("list")
    assert (ended, errors.count("\n")) == (os.EX_NOPERM, 1)
    assert errors.endswith("Then set MARKETING_API_TOKEN to the new token.\n")
    monkeypatch.setenv("MARKETING_API_URL", portal.ready["inbox"])
    ended, _, errors = run("list")
    assert (ended, errors.count("\n")) == (os.EX_NOINPUT, 1)
    assert "MARKETING_API_URL does not lead to the API" in errors


def test_an_export_equals_the_file_of_the_api(
    portal: Portal, run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    campaign = portal.launch("CUSTOMER", name="Exported")["id"]
    file = tmp_path / "log.csv"
    code, said, _ = run("export", campaign, "--output", file, "--status", "FAILED", "--status", "SKIPPED")
    assert (code, said) == (0, f"{file}: {file.stat().st_size:,} octets\n")
    expected = portal.api.get(f"/campaigns/{campaign}/sends.csv?status=FAILED&status=SKIPPED").content
    assert file.read_bytes() == expected
    assert [one.name for one in tmp_path.iterdir()] == ["log.csv"]
    code, _, errors = run("export", campaign, "--output", tmp_path / "none" / "log.csv")
    assert (code, errors.count("\n")) == (os.EX_CANTCREAT, 1)
    code, _, errors = run("export", campaign, "--output", file, "--resume")
    assert (code, "leave out --resume" in errors) == (os.EX_CANTCREAT, True)


@contextmanager
def breaking(url: str, *octets: int) -> Iterator[str]:
    """The address of a proxy before the API. It breaks one connection after so many octets of the response, then the
    next; the others are whole."""
    host, _, port = url.removeprefix("http://").partition(":")
    limits = list(octets)

    class Proxy(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            request = b""
            while b"\r\n\r\n" not in request:
                request += self.request.recv(65_536)
            left = limits.pop(0) if limits else 10**9
            with socket.create_connection((host, int(port))) as api:
                api.sendall(
                    request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n").replace(b"keep-alive", b"close")
                )
                while left > 0 and (piece := api.recv(65_536)):
                    self.request.sendall(piece[:left])
                    left -= len(piece)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_an_export_that_breaks_goes_on_by_itself_and_later(
    portal: Portal, environment: dict[str, str], tmp_path: Path
) -> None:
    campaign = portal.launch("CUSTOMER", name="Broken")["id"]
    whole = portal.api.get(f"/campaigns/{campaign}/sends.csv").content
    said: list[str] = []
    file = tmp_path / "log.csv"

    def download(url: str, *, resume: bool = False) -> None:
        with Api.open(environment | {"MARKETING_API_URL": url}) as api:
            export(api, campaign, file, statuses=[], resume=resume, waits=(0.01,), say=said.append)

    with breaking(portal.ready["api"], 1_800, 1_800) as url:
        download(url)
    assert file.read_bytes() == whole
    assert 1 <= len(said) <= 2
    file.unlink()
    with (
        breaking(portal.ready["api"], 1_800, *[300] * 9) as url,
        pytest.raises(CommandFailed, match="continue with --resume"),
    ):
        download(url)
    assert not file.exists()
    download(portal.ready["api"], resume=True)
    assert file.read_bytes() == whole
    assert [one.name for one in tmp_path.iterdir()] == ["log.csv"]


def test_a_stream_that_breaks_is_opened_again(
    portal: Portal, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = portal.launch("LEAD")["id"]
    for octets in (100, 900):  # within the head, and within the events
        with breaking(portal.ready["api"], octets) as url:
            monkeypatch.setenv("MARKETING_API_URL", url)
            code, watched, errors = run("watch", campaign, "--json")
        assert (code, errors) == (0, "")
        assert json.loads(watched.splitlines()[-1])["status"] == "SENT"


def test_a_reader_that_has_enough_ends_the_command_quietly(portal: Portal, environment: dict[str, str]) -> None:
    campaign = portal.launch("LEAD")["id"]
    command = f"{sys.executable} -m marketing_service campaigns show {campaign} --json | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (141, "")
