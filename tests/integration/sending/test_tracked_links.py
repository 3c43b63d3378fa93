"""A campaign that tracks clicks, from its launch to a click on a link in a message that the relay accepted."""

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


async def test_every_message_has_its_own_links_that_redirect_to_the_authors_links(world: World) -> None:
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
    assert len(tokens) == len(rows), "one token for each message, with any number of links"
    transport = httpx.ASGITransport(create_app(world.api))
    async with httpx.AsyncClient(transport=transport, base_url="http://marketing.test") as client:
        for email, addresses in found.items():
            assert [number for _, number in addresses] == (["1", "2"] if rows[email]["first_name"] else ["1"])
            targets = [httpx.URL((await client.get(address)).headers["location"]) for address, _ in addresses]
            assert (targets[0].host, targets[0].params["x"]) == ("b.example", "1")
            assert targets[0].params["n"] == (rows[email]["last_name"] or "")
            assert [str(address) for address in targets[1:]] == ["https://a.example/"] * len(targets[1:])


async def test_without_click_tracking_the_links_stay_and_nothing_is_stored(world: World) -> None:
    async with world.working():
        campaign_id = await world.launch(html_body=HTML)
        await world.until_status(campaign_id, "SENT")
    assert await links(world, campaign_id) == []
    assert not any(CLICK.search(html_of(message.content)) for message in world.relay.accepted)


async def test_another_worker_uses_the_numbers_that_the_links_already_have(world: World) -> None:
    """The numbers in the ledger apply, even for a worker that would number the links in another order."""
    campaign_id = await world.launch_to("ada@example.com", html_body=HTML, track_clicks=True)
    async with world.owner.transaction() as tx:
        urls = ["https://a.example/", "https://b.example/?n={{ lastName }}&amp;x=1"]
        await write_links(tx.connection, org_id=world.org_id, campaign_id=campaign_id, urls=urls)
    messages = Messages(world.worker.transactions, public_base_url=world.settings.public_base_url)
    message = await messages.of_launched(campaign_id)
    assert message.links == tuple(urls)
    assert (await messages.of_current_version(campaign_id)).links == (), "a test mail has the author's links"
