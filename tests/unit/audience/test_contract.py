"""The examples in openapi/crm.yaml match its schemas, and the adapter can parse them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
import yaml

from marketing_service.audience.crm_json import read_contact, read_count, read_detail, read_page, read_statuses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONTRACT: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[3] / "openapi" / "crm.yaml").read_text(encoding="utf-8")
)
READERS: dict[str, Callable[[bytes], object]] = {
    "Contact": read_contact,
    "ContactPage": partial(read_page, limit=1000),
    "ContactStatuses": read_statuses,
    "Count": read_count,
    "Problem": read_detail,
}


def bodies(node: Any) -> Iterator[tuple[str, Any]]:
    """Every example in the document, with the name of its schema."""
    if isinstance(node, dict):
        if "examples" in node and "schema" in node:
            name = node["schema"]["$ref"].rpartition("/")[2]
            yield from ((name, example["value"]) for example in node["examples"].values())
        for child in node.values():
            yield from bodies(child)


@pytest.mark.parametrize(("name", "value"), list(bodies(CONTRACT)))
def test_examples_match_their_schemas_and_are_parsed(name: str, value: Any) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": CONTRACT["components"]}
    jsonschema_rs.Draft202012Validator(schema).validate(value)
    if name != "OptOut":
        assert READERS[name](json.dumps(value).encode())


def test_operations_have_unique_ids() -> None:
    operations = [
        method["operationId"]
        for path in CONTRACT["paths"].values()
        for name, method in path.items()
        if name in {"get", "patch"}
    ]
    assert sorted(operations) == [
        "countContacts",
        "getContact",
        "listContactStatuses",
        "listContacts",
        "optContactOut",
    ]
