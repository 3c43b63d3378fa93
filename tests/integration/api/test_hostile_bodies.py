"""Large bodies that are made to take long are previewed and saved. `make bench-bounds` measures them at full size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.api.support import CAMPAIGNS, assert_problem

if TYPE_CHECKING:
    import httpx


SIZE = 300_000
BODIES = {
    "attribute": "<a " + "a" * (SIZE - 10) + ">",
    "attributes": "<img " + "a " * (SIZE // 2 - 10) + ">x",
    "deep lists": "<ul><li>" * (SIZE // 8),
    "number": "<p>&#" + "5" * (SIZE - 20) + ";",
    "comments": "x" + "<!--" * (SIZE // 4 - 1),
    "elements": "<b>" * (SIZE // 3),
}


@pytest.mark.parametrize("shape", BODIES)
async def test_a_hostile_body_is_previewed_and_saved(admin: httpx.AsyncClient, shape: str) -> None:
    message = {"subject": "x", "htmlBody": BODIES[shape]}
    preview = await admin.post("/api/marketing/preview", json=message)
    assert preview.status_code == 200, preview.text[:500]
    saved = await admin.post(CAMPAIGNS, json={"name": "x", "fromEmail": "news@acme.example"} | message)
    assert saved.status_code == 201, saved.text[:500]


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\ufeff", "\uffff", "\u2028", "\x07"])
@pytest.mark.parametrize("field", ["fromName", "subject", "name"])
async def test_a_name_with_an_invisible_character_is_refused(
    admin: httpx.AsyncClient, field: str, character: str
) -> None:
    message = {"name": "n", "fromName": "f", "subject": "s", "fromEmail": "news@acme.example", "htmlBody": "x"}
    response = await admin.post(CAMPAIGNS, json=message | {field: f"a{character}b"})
    assert_problem(response, 422, "invalid-input", field)
    assert f"U+{ord(character):04X}" in response.text
