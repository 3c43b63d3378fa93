"""The form of the log, and that it contains no address, token or password."""

from __future__ import annotations

import json
import logging
import warnings
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import structlog

from marketing_service.logs import _MASKS, configure_logging, mask, mask_values
from tests.support.regex_steps import Steps

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"
LINK_TOKEN = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U_w"


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("to jane.o'neil+x@sub.example.org failed", "to [address] failed"),
        ("<jürgen@exämple.de>", "<[address]>"),
        ('"a"@example.org', "[address]"),
        ("?to: jane%40example.org&x=1", "?to: [address]&x=1"),
        ("x@[192.0.2.1]:", "[address]:"),
        ("postgresql://marketing:p%40ss@127.0.0.1:5432/db", "postgresql://[secret]@127.0.0.1:5432/db"),
        ("redis://:pw@cache:6379/0", "redis://[secret]@cache:6379/0"),
        ("smtp+starttls://user@corp.example:p@ss@relay", "smtp+starttls://[secret]@relay"),
        ("Authorization: Bearer abcdef0123456789", "Authorization: Bearer [secret]"),
        ("authorization: basic dXNlcjpwYXNz", "authorization: basic [secret]"),
        (f"token {JWT} is expired", "token [secret] is expired"),
        ("GET /x?access_token=s3cr3t&page=2", "GET /x?access_token=[secret]&page=2"),
        (f"GET /api/marketing/pixel/{LINK_TOKEN}.gif", "GET /api/marketing/pixel/[secret].gif"),
    ],
)
def test_masks_what_looks_like_an_address_or_a_secret(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "batch 7 of 0190f1f2-7c1d-7b3a-9a55-0123456789ab is done",
        "expand-0190f1f2-7c1d-7b3a-9a55-0123456789ab",
        "http://127.0.0.1:8000/api/marketing/campaigns?limit=50&status=SENT",
        "connect to relay.example.org:587 failed: 10 @ 20",
    ],
)
def test_leaves_ids_and_plain_urls_alone(text: str) -> None:
    assert mask(text) == text


def test_masks_at_any_depth_and_by_key() -> None:
    event = {
        "event": "refused a@example.org",
        "error": ValueError("550 no such user <b@example.org>"),
        "token": "short",
        "Email": ["x"],
        "nested": {"list": ["c@example.org", 7, None], "d@example.org": True},
        "raw": b"RCPT TO:<e@example.org>\xff",
        "id": UUID(int=1),
    }
    assert mask_values(None, "info", event) == {
        "event": "refused [address]",
        "error": "550 no such user <[address]>",
        "token": "[secret]",
        "Email": "[secret]",
        "nested": {"list": ["[address]", 7, None], "[address]": True},
        "raw": "RCPT TO:<[address]>\\xff",
        "id": "00000000-0000-0000-0000-000000000001",
    }


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in _MASKS])
@pytest.mark.parametrize("shape", ["{0}://{0}", "{0}@", "?{0}"])
def test_the_steps_of_a_mask_grow_with_the_text(shape: str, pattern: re.Pattern[str]) -> None:
    """A quadratic pattern takes 16 times the steps for four times the text."""
    steps = Steps(pattern, limit=3_000_000)
    assert steps.search(shape.format("a" * 800)) < 8 * steps.search(shape.format("a" * 200))


def test_an_event_is_one_line_of_json_in_utc_with_its_context(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "json")
    with structlog.contextvars.bound_contextvars(request_id="r1", campaign_id="c1", batch=3):
        structlog.get_logger("marketing_service.worker").info("batch_done", sent=100)
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "batch_done",
        "level": "info",
        "logger": "marketing_service.worker",
        "request_id": "r1",
        "campaign_id": "c1",
        "batch": 3,
        "sent": 100,
    }


def test_events_of_libraries_have_the_same_form_and_context(capsys: pytest.CaptureFixture[str]) -> None:
    uvicorn = logging.getLogger("uvicorn.error")
    uvicorn.addHandler(logging.StreamHandler())
    configure_logging("INFO", "json")
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        uvicorn.info("Started %s for %s", "it", "a@example.org")
    (line,) = lines(capsys)
    assert line["event"] == "Started it for [address]"
    assert (line["logger"], line["level"], line["request_id"]) == ("uvicorn.error", "info", "r1")


def test_requests_of_libraries_and_lower_levels_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("DEBUG", "json")
    logging.getLogger("httpx").info("GET http://crm/contacts?email=a")
    logging.getLogger("sqlalchemy.engine").info("SELECT 1")
    configure_logging("ERROR", "json")
    structlog.get_logger().warning("ignored")
    logging.getLogger("uvicorn.access").warning("ignored")
    assert lines(capsys) == []


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_is_masked_and_shows_no_variables(capsys: pytest.CaptureFixture[str], log_format: Any) -> None:
    configure_logging("INFO", log_format)
    password = "hunter" + "2"
    try:
        int("a@example.org")
    except ValueError:
        structlog.get_logger().exception("it_failed")
    text = capsys.readouterr().err
    assert "it_failed" in text
    assert "ValueError: invalid literal" in text
    assert "[address]" in text
    assert "a@example.org" not in text
    assert password not in text


def test_python_warnings_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure_logging("INFO", "json")
        warnings.warn("old way", UserWarning, stacklevel=1)
    (line,) = lines(capsys)
    assert (line["logger"], line["level"]) == ("py.warnings", "warning")
