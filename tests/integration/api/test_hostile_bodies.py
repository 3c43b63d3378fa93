"""Bodies of a megabyte that are made to take long: each request is responded to, and the event loop stays free."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.integration.api.support import CAMPAIGNS, assert_problem

if TYPE_CHECKING:
    import httpx

SIZE = 1_000_000
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
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.005)
            longest = max(longest, loop.time() - before)

    campaign = {"name": "x", "subject": "x", "fromEmail": "news@acme.example", "htmlBody": BODIES[shape]}
    watcher = asyncio.create_task(watch())
    try:
        preview = await admin.post("/api/marketing/preview", json={"subject": "x", "htmlBody": BODIES[shape]})
        saved = await admin.post(CAMPAIGNS, json=campaign)
    finally:
        watcher.cancel()
    assert preview.status_code == 200, preview.text[:500]
    assert saved.status_code == 201, saved.text[:500]
    times = f"preview {preview.elapsed}, create {saved.elapsed}"
    print(f"{shape}: event loop busy for {longest * 1000:.0f} ms, {times}")  # noqa: T201 - figures


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\ufeff", "\uffff", "\u2028", "\x07"])
@pytest.mark.parametrize("field", ["fromName", "subject", "name"])
async def test_a_name_with_an_invisible_character_is_refused(
    admin: httpx.AsyncClient, field: str, character: str
) -> None:
    message = {"name": "n", "fromName": "f", "subject": "s", "fromEmail": "news@acme.example", "htmlBody": "x"}
    response = await admin.post(CAMPAIGNS, json=message | {field: f"a{character}b"})
    assert_problem(response, 422, "invalid-input", field)
    assert f"U+{ord(character):04X}" in response.text
