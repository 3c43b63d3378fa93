"""The live progress of a campaign, as a portal follows it."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import httpx

from tests.support.dev import ANY_PORT, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.portal import Portal


def events_in(stream: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of the stream as they arrive, up to its end."""
    name = ""
    for line in stream.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def test_a_campaign_is_watched_from_the_draft_to_the_last_message(portal: Portal) -> None:
    campaign = portal.save("CUSTOMER", name="Watched")["id"]
    seen: list[tuple[str, dict[str, Any]]] = []
    with portal.api.stream("GET", f"/campaigns/{campaign}/events", headers={"Accept-Encoding": "gzip"}) as stream:
        assert stream.status_code == 200
        assert "content-encoding" not in stream.headers
        for name, data in events_in(stream):
            if not seen:
                assert (name, data["status"]) == ("stats", "DRAFT")
                assert portal.api.post(f"/campaigns/{campaign}/launch").status_code == 202
            seen.append((name, data))
    snapshots = [data for name, data in seen if name == "stats"]
    assert [data["status"] for data in snapshots if data["status"] == "DRAFT"] == ["DRAFT"]
    for data in snapshots:
        states = ("queued", "sending", "deferred", "delivered", "failed", "skipped", "unconfirmed")
        assert data["recipients"] == sum(data[state] for state in states)
    assert {name: snapshots[-1][name] for name in portal.stats(campaign)} == portal.stats(campaign)
    assert seen[-1] == ("done", {"status": "SENT"})
    assert [name for name, _ in seen].count("done") == 1


def test_a_campaign_that_is_sent_gives_its_stats_and_ends(portal: Portal) -> None:
    campaign = portal.launch("LEAD", name="Sent before")["id"]
    with portal.api.stream("GET", f"/campaigns/{campaign}/events") as stream:
        assert [name for name, _ in events_in(stream)] == ["stats", "done"]


def test_a_service_that_stops_ends_its_streams_and_is_not_delayed_by_them(tmp_path: Path) -> None:
    with running(tmp_path / "dev", *ANY_PORT, "--no-worker", "--contacts", "10") as dev:
        ready = dev.ready()
        headers = {"Authorization": f"Bearer {ready['tokens']['admin']}"}
        with httpx.Client(base_url=f"{ready['api']}/api/marketing", headers=headers, timeout=60) as api:
            message = {"name": "A", "subject": "A", "fromEmail": "a@acme.example"}
            campaign = api.post("/campaigns", json=message).json()["id"]
            with api.stream("GET", f"/campaigns/{campaign}/events") as stream:
                events = events_in(stream)
                assert next(events)[0] == "stats"
                dev.process.send_signal(signal.SIGTERM)
                # The chunked response is complete: a broken one would raise an error.
                assert list(events) == []
        assert dev.process.wait(60) == 0, dev.output
