"""Every statement over campaigns that does not belong to the ledger; each is bound to one organisation."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import Float, cast, delete, func, insert, select, tuple_, update

from marketing_service.ports import Audience, AudienceType
from marketing_service.store.model import (
    Campaign,
    CampaignKey,
    CampaignStats,
    Content,
    Failure,
    Overview,
    Page,
    Progress,
)
from marketing_service.store.states import CampaignStatus
from marketing_service.store.tables import campaigns

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

# Two bodies of a megabyte each times a page of 200 would be 400 MB of JSON: a page of such campaigns ends early.
PAGE_BYTES = 8_000_000
_COUNTERS = tuple(field.name for field in fields(CampaignStats))


async def add(conn: AsyncConnection, org_id: str, content: Content, *, created_by: str) -> Campaign:
    """Insert a DRAFT and return it."""
    values = _columns(content) | {"org_id": org_id, "created_by": created_by}
    result = await conn.execute(insert(campaigns).values(values).returning(*campaigns.c))
    return _campaign(result.mappings().one())


async def find(conn: AsyncConnection, org_id: str, campaign_id: UUID, *, for_update: bool = False) -> Campaign | None:
    """The campaign, or None where the organisation has none with this id. `for_update` locks its row."""
    statement = select(campaigns).where(campaigns.c.org_id == org_id, campaigns.c.id == campaign_id)
    result = await conn.execute(statement.with_for_update(key_share=True) if for_update else statement)
    row = result.mappings().one_or_none()
    return None if row is None else _campaign(row)


async def progress(conn: AsyncConnection, org_id: str, campaign_id: UUID) -> Progress | None:
    """The campaign's state and counters, without its bodies; None where the organisation has none with this id."""
    columns = [campaigns.c[name] for name in ("status", "launched_at", "expanded_at", "expansion_fetched", *_COUNTERS)]
    statement = select(*columns).where(campaigns.c.org_id == org_id, campaigns.c.id == campaign_id)
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is None:
        return None
    status = CampaignStatus(row["status"])
    expanding = status is CampaignStatus.SENDING and row["expanded_at"] is None
    return Progress(status, row["launched_at"], _stats(row), row["expansion_fetched"] if expanding else None)


async def replace_content(conn: AsyncConnection, campaign: Campaign, content: Content) -> Campaign:
    """Write the content over the campaign's, raise its version, and return it as it now is."""
    statement = (
        update(campaigns)
        .where(campaigns.c.org_id == campaign.org_id, campaigns.c.id == campaign.id)
        .values(_columns(content) | {"version": campaigns.c.version + 1, "updated_at": func.now()})
        .returning(*campaigns.c)
    )
    return _campaign((await conn.execute(statement)).mappings().one())


async def remove(conn: AsyncConnection, campaign: Campaign) -> None:
    """Delete the campaign."""
    await conn.execute(delete(campaigns).where(campaigns.c.org_id == campaign.org_id, campaigns.c.id == campaign.id))


async def newest_first(
    conn: AsyncConnection,
    org_id: str,
    *,
    statuses: Collection[CampaignStatus],
    name_prefix: str | None,
    after: CampaignKey | None,
    limit: int,
) -> Page[Campaign, CampaignKey]:
    """A page of at most `limit` campaigns; fewer where their bodies are large (see PAGE_BYTES)."""
    size = func.coalesce(func.octet_length(campaigns.c.html_body), 0) + func.coalesce(
        func.octet_length(campaigns.c.text_body), 0
    )
    place = (campaigns.c.created_at, campaigns.c.id)
    candidates = select(*place, size.label("size")).where(campaigns.c.org_id == org_id)
    if statuses:
        candidates = candidates.where(campaigns.c.status.in_(statuses))
    if name_prefix:
        candidates = candidates.where(campaigns.c.name.istartswith(name_prefix, autoescape=True))
    if after is not None:
        candidates = candidates.where(tuple_(*place) < (after.created_at, after.id))
    near = candidates.order_by(*(column.desc() for column in place)).limit(limit + 1).subquery()
    newest = [near.c.created_at.desc(), near.c.id.desc()]
    sized = select(
        near.c.id,
        (func.sum(near.c.size).over(order_by=newest) - near.c.size).label("bytes_before"),
        func.count().over().label("candidates"),
    ).subquery()
    statement = (
        select(campaigns, sized.c.candidates)
        .join(sized, campaigns.c.id == sized.c.id)
        .where(campaigns.c.org_id == org_id, sized.c.bytes_before < PAGE_BYTES)
        .order_by(*(column.desc() for column in place))
    )
    rows = (await conn.execute(statement)).mappings().all()
    items = [_campaign(row) for row in rows[:limit]]
    if not items or rows[0]["candidates"] == len(items):
        return Page(items, None)
    return Page(items, CampaignKey(items[-1].created_at, items[-1].id))


async def overview(conn: AsyncConnection, org_id: str) -> Overview:
    """The organisation's campaigns by status, from the campaigns' own counters: no send is read."""

    def having(status: CampaignStatus) -> Any:
        return func.count().filter(campaigns.c.status == status)

    rate = cast(campaigns.c.opens_delivered, Float) / func.nullif(campaigns.c.delivered, 0)
    statement = select(
        func.count().label("total"),
        having(CampaignStatus.DRAFT).label("draft"),
        having(CampaignStatus.SENDING).label("sending"),
        having(CampaignStatus.SENT).label("sent"),
        having(CampaignStatus.FAILED).label("failed"),
        func.coalesce(func.avg(rate).filter(campaigns.c.status == CampaignStatus.SENT), 0.0).label("average_open_rate"),
    ).where(campaigns.c.org_id == org_id)
    return Overview(**(await conn.execute(statement)).mappings().one())


def _columns(content: Content) -> dict[str, Any]:
    return {
        "name": content.name,
        "from_name": content.from_name,
        "from_email": content.from_email,
        "reply_to": content.reply_to,
        "subject": content.subject,
        "html_body": content.html_body,
        "text_body": content.text_body,
        "audience_type": content.audience.type,
        "audience_statuses": list(content.audience.statuses),
        "track_clicks": content.track_clicks,
    }


def _campaign(row: RowMapping) -> Campaign:
    return Campaign(
        id=row["id"],
        org_id=row["org_id"],
        content=Content(
            name=row["name"],
            from_name=row["from_name"],
            from_email=row["from_email"],
            reply_to=row["reply_to"],
            subject=row["subject"],
            html_body=row["html_body"],
            text_body=row["text_body"],
            audience=Audience(AudienceType(row["audience_type"]), tuple(row["audience_statuses"])),
            track_clicks=row["track_clicks"],
        ),
        status=CampaignStatus(row["status"]),
        failure=Failure(row["failure_code"], row["failure_message"] or "") if row["failure_code"] else None,
        scheduled_at=row["scheduled_at"],
        launched_at=row["launched_at"],
        expanded_at=row["expanded_at"],
        sent_at=row["sent_at"],
        paused_at=row["paused_at"],
        pause_reason=row["pause_reason"],
        cancelled_at=row["cancelled_at"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        version=row["version"],
        stats=_stats(row),
    )


def _stats(row: RowMapping) -> CampaignStats:
    return CampaignStats(**{name: row[name] for name in _COUNTERS})
