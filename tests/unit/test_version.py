"""pyproject.toml states the version; everything else takes it from there, or agrees with it."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files

import pytest

import marketing_service
from marketing_service.api.openapi import openapi_document
from marketing_service.cli import main
from tests.support.project import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def test_the_package_and_the_api_have_the_version_of_the_project() -> None:
    """If this fails after a change of the version, run `make install`."""
    assert marketing_service.__version__ == VERSION
    assert openapi_document()["info"]["version"] == VERSION


def test_the_command_line_prints_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["--version"])
    assert exited.value.code == 0
    assert capsys.readouterr().out == f"{VERSION}\n"


def test_the_manifests_name_the_image_of_this_version() -> None:
    for manifest in (ROOT / "deploy" / "kubernetes").glob("*.yaml"):
        versions = set(re.findall(r"image: marketing-service:(\S+)", manifest.read_text(encoding="utf-8")))
        assert versions in (set(), {VERSION}), manifest.name


@pytest.mark.parametrize("page", ["deploy/README.md", "docs/upgrade.md"])
def test_a_page_that_waits_for_the_migration_waits_for_that_of_this_version(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert set(re.findall(r"job/marketing-migrate-(\S+)", text)) == {VERSION.replace(".", "-")}


def test_the_package_declares_its_types() -> None:
    """PEP 561."""
    assert files("marketing_service").joinpath("py.typed").is_file()
