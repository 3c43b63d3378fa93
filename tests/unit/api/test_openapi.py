"""The OpenAPI document is complete, deterministic, and equal to the file in the repository."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from marketing_service.api.openapi import openapi_document, openapi_yaml
from marketing_service.api.problems import PROBLEM_TYPES

METHODS = {"get", "post", "patch", "delete", "put"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document()


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def test_the_yaml_is_equal_to_the_document(document: dict[str, Any]) -> None:
    assert yaml.safe_load(openapi_yaml()) == document
    assert document["openapi"].startswith("3.1.")


def test_it_is_the_same_every_time() -> None:
    assert openapi_yaml() == openapi_yaml()


def test_the_file_in_the_repository_is_current(pytestconfig: pytest.Config) -> None:
    assert (Path(pytestconfig.rootpath) / "openapi" / "marketing.yaml").read_text("utf-8") == openapi_yaml()


def test_every_operation_has_an_id_and_a_summary_of_its_own(document: dict[str, Any]) -> None:
    found = operations(document)
    assert found
    assert len({operation["operationId"] for operation in found}) == len(found)
    assert all(operation["summary"] for operation in found)


def test_every_operation_with_a_token_documents_the_common_problems(document: dict[str, Any]) -> None:
    for operation in operations(document):
        if "security" in operation:
            assert {"401", "403", "422", "500", "503"} <= operation["responses"].keys()


def test_every_reference_has_a_target(document: dict[str, Any]) -> None:
    def follow(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(target := value.get("$ref"), str):
                node = document
                for part in target.removeprefix("#/").split("/"):
                    node = node[part]
            for item in value.values():
                follow(item)
        elif isinstance(value, list):
            for item in value:
                follow(item)

    follow(document)


def test_every_type_of_problem_is_explained(pytestconfig: pytest.Config) -> None:
    listed = (Path(pytestconfig.rootpath) / "docs" / "problems.md").read_text("utf-8")
    for kind in PROBLEM_TYPES:
        assert f"| `{kind.type}` | {kind.status} |" in listed
