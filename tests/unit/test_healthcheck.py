"""The health check of the image follows the command of the container."""

from __future__ import annotations

import pytest

from marketing_service.cli import create_parser
from marketing_service.healthcheck import health_url
from tests.support.project import ROOT


@pytest.mark.parametrize(
    ("command", "url"),
    [
        ("serve --host 0.0.0.0 --internal-host 0.0.0.0 --internal-port 8001", "http://127.0.0.1:8001/healthz"),
        ("serve --host :: --internal-host :: --internal-port 9001", "http://127.0.0.1:9001/healthz"),
        ("serve --internal-host ::1 --internal-port=9001", "http://[::1]:9001/healthz"),
        ("serve --host 192.0.2.7 --port 80 --root-path /mail", "http://192.0.2.7:80/healthz"),
        ("worker --processes 2", None),
        ("bounces lmtp --host 0.0.0.0", None),
        ("migrate", None),
    ],
)
def test_it_asks_where_the_command_lets_the_api_listen(command: str, url: str | None) -> None:
    arguments = command.split()
    create_parser().parse_args(arguments)
    assert health_url(["/opt/marketing/bin/python", "/opt/marketing/bin/marketing-service", *arguments]) == url


def test_without_options_it_knows_the_defaults_of_the_command() -> None:
    options = create_parser().parse_args(["serve"])
    assert options.internal_port is None
    assert health_url(["serve"]) == f"http://{options.host}:{options.port}/healthz"
    assert health_url(["serve", "--internal-port", "1"]) == f"http://{options.internal_host}:1/healthz"


def test_the_image_runs_it() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert 'CMD ["python", "-m", "marketing_service.healthcheck"]' in dockerfile
