"""A campaign that tracks clicks, from its launch to a click on what the relay was given."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

import httpx

from marketing_service.api.app import create_app
from marketing_service.sending.messages import Messages
from marketing_service.store.clicks import links_of, write_links
from tests.support.ledger import send_rows

if TYPE_CHECKING:
    from tests.support.world import World

HTML = """<a href="https://b.example/?n={{ lastName }}&amp;x=1">b</a>
{% if firstName %}<a href='https://a.example/'>a</a>{% endif %} <a href="mailto:x@a.example">c</a>"""
CLICK = re.compile(r"http://127\.0\.0\.1:8000(/api/marketing/click/[\w-]+/(\d+))")


def html_of(content: bytes) -> str:
    parts = list(message_from_bytes(content, policy=policy.default).iter_parts())
    html: str = parts[1].get_content()
    return html


async def links(world: World, campaign_id: Any) -> list[tuple[int, str]]:
    async with world.owner.transaction() as tx:
        return [(link.number, link.url) for link in await links_of(tx.connection, campaign_id)]


async def test_every_message_has_links_of_its_own_that_lead_to_the_authors(world: World) -> None:
    async with world.working():
        campaign_id = await world.launch(html_body=HTML, track_clicks=True)
        await world.until_status(campaign_id, "SENT")
    assert await links(world, campaign_id) == [
        (1, "https://b.example/?n={{ lastName }}&amp;x=1"),
        (2, "https://a.example/"),
    ]
    rows = {row["email"]: row for row in await send_rows(world.owner, campaign_id) if row["status"] == "DELIVERED"}
    found = {accepted.recipients[0]: CLICK.findall(html_of(accepted.content)) for accepted in world.relay.accepted}
    assert found.keys() == rows.keys()
    tokens = {address.split("/")[-2] for addresses in found.values() for address, _ in addresses}
    assert len(tokens) == len(rows), "one for each message, however many links"
    transport = httpx.ASGITransport(create_app(world.api))
    async with httpx.AsyncClient(transport=transport, base_url="http://marketing.test") as client:
        for email, addresses in found.items():
            assert [number for _, number in addresses] == (["1", "2"] if rows[email]["first_name"] else ["1"])
            led = [httpx.URL((await client.get(address)).headers["location"]) for address, _ in addresses]
            assert (led[0].host, led[0].params["x"]) == ("b.example", "1")
            assert led[0].params["n"] == (rows[email]["last_name"] or "")
            assert [str(address) for address in led[1:]] == ["https://a.example/"] * len(led[1:])


async def test_without_it_the_links_are_the_authors_and_nothing_is_written(world: World) -> None:
    async with world.working():
        campaign_id = await world.launch(html_body=HTML)
        await world.until_status(campaign_id, "SENT")
    assert await links(world, campaign_id) == []
    assert not any(CLICK.search(html_of(message.content)) for message in world.relay.accepted)


async def test_another_worker_gives_the_links_the_numbers_they_have(world: World) -> None:
    """Even one that would number them otherwise: the ledger's are taken."""
    campaign_id = await world.launch_to("ada@example.com", html_body=HTML, track_clicks=True)
    async with world.owner.transaction() as tx:
        urls = ["https://a.example/", "https://b.example/?n={{ lastName }}&amp;x=1"]
        await write_links(tx.connection, org_id=world.org_id, campaign_id=campaign_id, urls=urls)
    messages = Messages(world.worker.transactions, public_base_url=world.settings.public_base_url)
    message = await messages.of_launched(campaign_id)
    assert message.links == tuple(urls)
    assert (await messages.of_current_version(campaign_id)).links == (), "a test's links are the author's"
