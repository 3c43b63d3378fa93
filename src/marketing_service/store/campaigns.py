"""Campaigns: their content, their state and their counters. Each statement about one organisation is bound to it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import Float, cast, delete, func, insert, select, text, tuple_, update

from marketing_service.languages import Language
from marketing_service.ports import Audience, AudienceType
from marketing_service.store.page import Page
from marketing_service.store.relay_pauses import Throttle, find_throttle
from marketing_service.store.rules import is_expanded, may_mark
from marketing_service.store.states import CampaignStatus
from marketing_service.store.tables import campaigns
from marketing_service.store.tables_relay import relay_pauses

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Content:
    """What an administrator writes: the message, and its audience."""

    name: str
    from_name: str | None
    from_email: str
    reply_to: str | None
    subject: str
    html_body: str | None
    text_body: str | None
    audience: Audience
    track_clicks: bool = False
    language: Language = Language.EN
    preheader: str | None = None


@dataclass(frozen=True, slots=True)
class CampaignStats:
    """A campaign's counters, as the ledger keeps them. Each counts sends, not loads or visits."""

    recipients: int
    queued: int
    sending: int
    deferred: int
    delivered: int
    failed: int
    skipped: int
    unconfirmed: int
    opens: int
    opens_delivered: int
    machine_opens: int
    machine_opens_delivered: int
    clicks: int
    unsubscribes: int
    hard_bounces: int
    soft_bounces: int

    @property
    def open_rate(self) -> float:
        """Sends opened and DELIVERED, as a fraction of those DELIVERED; 0 if none is DELIVERED."""
        return self.opens_delivered / self.delivered if self.delivered else 0.0

    @property
    def human_open_rate(self) -> float:
        """The open rate without the opens that look like a machine's."""
        return (self.opens_delivered - self.machine_opens_delivered) / self.delivered if self.delivered else 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a launch failed, or did not happen at its time: a stable code and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a draft is launched by itself, and the time zone in which its author wrote that time, if any."""

    at: datetime
    time_zone: str | None


@dataclass(frozen=True, slots=True)
class Campaign:
    id: UUID
    org_id: str
    content: Content
    status: CampaignStatus
    failure: Failure | None
    schedule: Schedule | None
    """Of a launched campaign: the schedule by which it was launched."""
    schedule_problem: Failure | None
    """Why the last schedule did not launch the draft."""
    launched_at: datetime | None
    expanded_at: datetime | None
    sent_at: datetime | None
    paused_at: datetime | None
    pause_reason: str | None
    pause_message: str | None
    """The relay's own words, if the relay caused the pause."""
    cancelled_at: datetime | None
    postal_address: str | None
    """The address in the footer, since the launch. A draft has none yet."""
    created_by: str
    created_at: datetime
    updated_at: datetime
    version: int
    stats: CampaignStats


@dataclass(frozen=True, slots=True)
class StatsSnapshot:
    """The state and the counters of a campaign, without its content."""

    status: CampaignStatus
    launched_at: datetime | None
    stats: CampaignStats
    contacts_fetched: int | None
    """How many contacts the expansion has read so far; None if no expansion is running."""
    throttle: Throttle | None = None
    """What the sending is reduced to because of the relay; None if it is not reduced."""
    paused_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """How many campaigns an organisation has. The average is over SENT campaigns with a DELIVERED send."""

    total: int
    draft: int
    sending: int
    sent: int
    failed: int
    average_open_rate: float


@dataclass(frozen=True, slots=True)
class CampaignKey:
    """A place in the list of campaigns: the next page starts after it."""

    created_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class LockedCampaign:
    """What a statement that moves sends needs to know about their campaign. `may_mark`: see `rules.may_mark`."""

    id: UUID
    org_id: str
    status: CampaignStatus
    expanded_at: datetime | None
    paused_at: datetime | None
    cancelled_at: datetime | None
    may_mark: bool


PAGE_BYTES = 8_000_000
"""How many bytes of bodies a page of campaigns has at most: 200 campaigns with two bodies of a megabyte each would be
400 MB of JSON."""
_COUNTERS = tuple(field.name for field in fields(CampaignStats))


_PAUSE_MESSAGE = (
    select(relay_pauses.c.message)
    .where(
        relay_pauses.c.campaign_id == campaigns.c.id,
        campaigns.c.pause_reason.is_not(None),
        campaigns.c.pause_reason != "USER",
    )
    .scalar_subquery()
    .label("pause_message")
)


async def add(conn: AsyncConnection, org_id: str, content: Content, *, created_by: str) -> Campaign:
    """Insert a DRAFT and return it."""
    values = _columns(content) | {"org_id": org_id, "created_by": created_by}
    result = await conn.execute(insert(campaigns).values(values).returning(*campaigns.c))
    return _campaign(result.mappings().one())


async def find(conn: AsyncConnection, org_id: str, campaign_id: UUID, *, for_update: bool = False) -> Campaign | None:
    """The campaign; None if the organisation has none with this id. `for_update` locks its row."""
    statement = select(campaigns, _PAUSE_MESSAGE).where(campaigns.c.org_id == org_id, campaigns.c.id == campaign_id)
    result = await conn.execute(statement.with_for_update(key_share=True) if for_update else statement)
    row = result.mappings().one_or_none()
    return None if row is None else _campaign(row)


async def find_stats(conn: AsyncConnection, org_id: str, campaign_id: UUID) -> StatsSnapshot | None:
    """The campaign's state and counters; None if the organisation has no campaign with this id."""
    names = ("status", "launched_at", "expanded_at", "expansion_fetched", "paused_at", *_COUNTERS)
    columns = [campaigns.c[name] for name in names]
    statement = select(*columns).where(campaigns.c.org_id == org_id, campaigns.c.id == campaign_id)
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is None:
        return None
    status = CampaignStatus(row["status"])
    expanding = status is CampaignStatus.SENDING and row["expanded_at"] is None
    throttle = None
    if status is CampaignStatus.SENDING:
        throttle = await find_throttle(conn, org_id=org_id, campaign_id=campaign_id)
    fetched = row["expansion_fetched"] if expanding else None
    return StatsSnapshot(status, row["launched_at"], _stats(row), fetched, throttle, row["paused_at"])


async def replace_content(conn: AsyncConnection, campaign: Campaign, content: Content) -> Campaign:
    """Replace the campaign's content and raise its version; returns the campaign as it is now."""
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
    """A page of at most `limit` campaigns; fewer if their bodies are large (see PAGE_BYTES)."""
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
    # MATERIALIZED: it is computed once, and not for each row that it is joined with.
    sized = (
        select(
            near.c.id,
            (func.sum(near.c.size).over(order_by=newest) - near.c.size).label("bytes_before"),
            func.count().over().label("candidates"),
        )
        .cte("sized")
        .prefix_with("MATERIALIZED")
    )
    statement = (
        select(campaigns, _PAUSE_MESSAGE, sized.c.candidates)
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
    """How many campaigns the organisation has, by status. Reads only the campaigns' own counters, and no send."""

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


_LOCK = text(
    f"""
    SELECT c.id, c.org_id, c.status, c.expanded_at, c.paused_at, c.cancelled_at, {may_mark("c")} AS may_mark
    FROM marketing_campaigns c WHERE c.id = :campaign_id FOR NO KEY UPDATE
    """
)


async def lock_campaign(connection: AsyncConnection, campaign_id: UUID) -> LockedCampaign | None:
    """Lock the campaign's row until the transaction ends; None if there is none that this transaction may see."""
    row = (await connection.execute(_LOCK, {"campaign_id": campaign_id})).mappings().one_or_none()
    return None if row is None else LockedCampaign(**(dict(row) | {"status": CampaignStatus(row["status"])}))


_SENDING = text(
    "SELECT id, org_id FROM marketing_campaigns WHERE status = 'SENDING' AND cancelled_at IS NULL ORDER BY id"
)


async def sending_campaigns(connection: AsyncConnection) -> list[tuple[UUID, str]]:
    """The launched campaigns that are neither finished nor cancelled, with their organisations; all that this
    transaction may see."""
    return [(row.id, row.org_id) for row in await connection.execute(_SENDING)]


_ACTIVE = text(
    f"""
    SELECT c.id, c.cancelled_at IS NOT NULL AS cancelled FROM marketing_campaigns c
    WHERE {is_expanded("c")} AND (c.paused_at IS NULL OR c.cancelled_at IS NOT NULL)
    """
)


async def active_campaigns(connection: AsyncConnection) -> tuple[list[UUID], list[UUID]]:
    """The campaigns with unsettled sends that are not paused, and those of them that are cancelled."""
    rows = (await connection.execute(_ACTIVE)).all()
    return [row.id for row in rows], [row.id for row in rows if row.cancelled]


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
        "language": content.language,
        "preheader": content.preheader,
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
            language=Language(row["language"]),
            preheader=row["preheader"],
        ),
        status=CampaignStatus(row["status"]),
        failure=_failure(row["failure_code"], row["failure_message"]),
        schedule=Schedule(row["scheduled_at"], row["scheduled_time_zone"]) if row["scheduled_at"] else None,
        schedule_problem=_failure(row["schedule_problem_code"], row["schedule_problem_message"]),
        launched_at=row["launched_at"],
        expanded_at=row["expanded_at"],
        sent_at=row["sent_at"],
        paused_at=row["paused_at"],
        pause_reason=row["pause_reason"],
        pause_message=row.get("pause_message"),
        cancelled_at=row["cancelled_at"],
        postal_address=row["postal_address"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        version=row["version"],
        stats=_stats(row),
    )


def _failure(code: str | None, message: str | None) -> Failure | None:
    return None if code is None else Failure(code, message or "")


def _stats(row: RowMapping) -> CampaignStats:
    return CampaignStats(**{name: row[name] for name in _COUNTERS})
