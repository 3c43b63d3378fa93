"""What recipients and machines do with the links of a message, for several tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from marketing_service.store.clicks import write_links
from marketing_service.tokens import Purpose
from tests.support.ledger import ORG, launched, send_rows
from tests.support.steps import deliver_all

if TYPE_CHECKING:
    from uuid import UUID

    import httpx

    from marketing_service.db import Database
    from marketing_service.tokens import TokenKeyring

BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"}
CONFIRMED = "<title>You are unsubscribed</title>"
ASK = "<title>Unsubscribe from our emails?</title>"
BROKEN_LINK = "<title>This link does not work</title>"
TARGET = "https://shop.example/"
LINKS = 12


class Recipient:
    """The paths in the message of one send."""

    def __init__(self, tokens: TokenKeyring, row: dict[str, Any]) -> None:
        self.send_id: UUID = row["id"]
        self.address: str = row["address"]
        self.unsubscribe = f"/api/marketing/unsubscribe/{tokens.issue(Purpose.UNSUBSCRIBE, self.send_id)}"
        self.pixel = f"/api/marketing/pixel/{tokens.issue(Purpose.OPEN, self.send_id)}.gif"
        self.click = f"/api/marketing/click/{tokens.issue(Purpose.CLICK, self.send_id)}/1"


async def mailed(owner: Database, tokens: TokenKeyring, count: int, *, ago: str = "1 hour") -> list[Recipient]:
    """The recipients of a campaign with tracked links that was delivered this interval ago. `count` is at most 100."""
    campaign_id = await launched(owner, count, track_clicks=True)
    async with owner.transaction() as tx:
        urls = [TARGET, *(f"{TARGET}{number}" for number in range(2, LINKS + 1))]
        await write_links(tx.connection, org_id=ORG, campaign_id=campaign_id, urls=urls)
    await deliver_all(owner, campaign_id)
    rows = await send_rows(owner, campaign_id)
    await delivered(owner, *(row["id"] for row in rows), ago=ago)
    return [Recipient(tokens, row) for row in rows]


async def delivered(owner: Database, *send_ids: UUID, ago: str) -> None:
    """The sends were delivered this interval ago, and nothing of them was requested since."""
    async with owner.transaction() as tx:
        await tx.connection.execute(
            text(
                "UPDATE marketing_sends SET sent_at = clock_timestamp() - CAST(CAST(:ago AS text) AS interval),"
                " last_opened_at = NULL, link_requested_at = NULL WHERE id = ANY(:ids)"
            ),
            {"ids": list(send_ids), "ago": ago},
        )


async def opted_out(owner: Database) -> set[str]:
    """The addresses that have opted out. Asserts that their sends say so, and no others."""
    async with owner.transaction() as tx:
        addresses = set((await tx.connection.execute(text("SELECT address FROM marketing_opt_outs"))).scalars())
        sends = await tx.connection.execute(
            text("SELECT address FROM marketing_sends WHERE unsubscribed_at IS NOT NULL")
        )
        assert set(sends.scalars()) == addresses
    return addresses


async def opens(owner: Database) -> dict[UUID, int]:
    async with owner.transaction() as tx:
        rows = await tx.connection.execute(text("SELECT id, open_count FROM marketing_sends WHERE open_count > 0"))
        return {row.id: row.open_count for row in rows}


def assert_page(response: httpx.Response, status: int, title: str) -> None:
    assert (response.status_code, response.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert title in response.text
