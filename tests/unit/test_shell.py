"""The commands of a shell, as far as they need no API: the line of progress, the exit codes, the settings."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import pytest

from marketing_service.cli import main
from marketing_service.shell.errors import CommandFailed, exit_code_of
from marketing_service.shell.progress_bar import ProgressBar, duration, line

if TYPE_CHECKING:
    from pathlib import Path

STATES = ("queued", "sending", "deferred", "delivered", "failed", "skipped", "unconfirmed")
ID = "0197c1b2-a3d4-7000-8000-000000000000"


def stats(status: str = "SENDING", /, **values: Any) -> dict[str, Any]:
    found = dict.fromkeys(STATES, 0) | values
    return {"status": status, "recipients": sum(found[state] for state in STATES)} | found


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        (stats("DRAFT"), "Draft"),
        (stats(), "Sending"),
        (stats(expanding={"fetched": 12_000}), "Sending reads the recipients: 12,000 so far"),
        (
            stats(queued=600, sending=10, delivered=1_380, failed=10, ratePerSecond=50.0, secondsLeft=13),
            f"Sending [{'#' * 20 + '-' * 10}]  69 %  1,390 of 2,000  50.0 a second  13 s left  10 failed",
        ),
        (
            stats(queued=1, delivered=999, stalledSince="2026-05-04T09:30:00Z"),
            f"Sending [{'#' * 29}-]  99 %  999 of 1,000  nothing sent since 2026-05-04T09:30:00Z",
        ),
        (stats("SENT", delivered=5, ratePerSecond=2.0), f"Sent    [{'#' * 30}] 100 %  5 of 5"),
    ],
    ids=["draft", "before the list", "reading", "sending", "stalled", "sent"],
)
def test_the_progress_is_one_line(taken: dict[str, Any], expected: str) -> None:
    assert line(taken).rstrip() == expected


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (59, "59 s"), (185, "3 min 5 s"), (7_800, "2 h 10 min")])
def test_a_time_has_at_most_two_units(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_a_terminal_shows_every_line_at_one_place() -> None:
    out = Terminal()
    bar = ProgressBar(out)
    for delivered in range(3):
        bar.show(stats(queued=9 - delivered, delivered=delivered))
    bar.end()
    bar.end()
    assert out.getvalue().count("\r\x1b[K") == 3
    assert out.getvalue().count("\n") == 1


def test_a_file_gets_a_line_for_each_tenth_and_each_status() -> None:
    out = io.StringIO()
    bar = ProgressBar(out)
    for delivered in range(101):
        bar.show(stats("SENT" if delivered == 100 else "SENDING", queued=100 - delivered, delivered=delivered))
    bar.end()
    assert len(out.getvalue().splitlines()) == 11


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, os.EX_DATAERR), (401, os.EX_NOPERM), (403, os.EX_NOPERM), (404, os.EX_NOINPUT), (409, os.EX_DATAERR),
        (422, os.EX_DATAERR), (429, os.EX_TEMPFAIL), (500, os.EX_SOFTWARE), (502, os.EX_TEMPFAIL),
        (503, os.EX_TEMPFAIL),
    ],
)  # fmt: skip
def test_the_exit_code_tells_what_kind_of_error_it_is(status: int, code: int) -> None:
    assert exit_code_of(status) == code


def test_an_error_is_one_line() -> None:
    assert str(CommandFailed("a\nb  c", 1)) == "a b c"


@pytest.mark.parametrize(
    ("url", "token", "named"),
    [
        ("", "abc", "MARKETING_API_URL"),
        ("marketing.example.com", "abc", "MARKETING_API_URL"),
        ("ftp://marketing.example.com", "abc", "MARKETING_API_URL"),
        ("http://marketing.example.com:port", "abc", "MARKETING_API_URL"),
        ("http://marketing.example.com", "", "MARKETING_API_TOKEN"),
        ("http://marketing.example.com", "Bearer abc", "MARKETING_API_TOKEN"),
    ],
)
def test_without_an_address_or_a_token_one_line_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, token: str, named: str
) -> None:
    monkeypatch.setenv("MARKETING_API_URL", url)
    monkeypatch.setenv("MARKETING_API_TOKEN", token)
    assert main(["campaigns", "list"]) == 2
    (text,) = capsys.readouterr().err.splitlines()
    assert text.startswith(f"marketing-service: {named} ")


def test_an_api_that_does_not_run_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MARKETING_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("MARKETING_API_TOKEN", "abc")
    monkeypatch.setattr("marketing_service.shell.commands._RECONNECTS", ())
    for command in ("show", "watch", "launch"):
        assert main(["campaigns", command, ID]) == os.EX_UNAVAILABLE
        (text,) = capsys.readouterr().err.splitlines()
        assert "http://127.0.0.1:9" in text
        assert "Check MARKETING_API_URL" in text


@pytest.mark.parametrize(
    "arguments", [["show", "1"], ["list", "--limit", "0"], ["list", "--status", "GONE"], ["watch"]]
)
def test_arguments_are_checked_before_anything_is_asked(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["campaigns", *arguments])
    assert ended.value.code == 2
