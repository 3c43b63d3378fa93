"""The audit trail of the use cases. Each use case that changes or exports data takes an `Actor`, and records the act
in the transaction that makes the change.

`details` contains no address of a recipient and no body. A text that may contain an address is recorded as its length
and the start of its SHA-256: a person who knows the address can find its entries, and nobody can read it there.
"""

from __future__ import annotations

from dataclasses import fields
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pydantic.alias_generators import to_camel

from marketing_service.ports import Audience
from marketing_service.store import audit as store

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Transaction
    from marketing_service.store.audit import Action, Actor, AuditEntry, AuditFilter
    from marketing_service.store.campaigns import Content
    from marketing_service.store.page import Page

MAX_TEXT = 200
"""The number of characters of the longest text that an entry quotes."""

_DIGEST_LENGTH = 16
_BODIES = frozenset({"html_body", "text_body"})


async def record(
    tx: Transaction, actor: Actor, action: Action, campaign_id: UUID | None = None, **details: Any
) -> None:
    """Add an entry in the transaction of the act. `details` can be written as JSON, and names no recipient."""
    await store.add_entry(tx.connection, actor, action, campaign_id, details)


async def page(
    tx: Transaction, org_id: str, *, only: AuditFilter, before: UUID | None, limit: int
) -> Page[AuditEntry, UUID]:
    """Entries of the organisation, newest first. A page can have fewer than `limit` entries, or none, although more
    pages follow."""
    return await store.page_of_entries(tx.connection, org_id, only=only, before=before, limit=limit)


def digest(text: str | bytes) -> dict[str, Any]:
    """The length in bytes, and the first 16 hexadecimal digits of the SHA-256."""
    octets = text.encode() if isinstance(text, str) else text
    return {"bytes": len(octets), "sha256": sha256(octets).hexdigest()[:_DIGEST_LENGTH]}


def audience_details(audience: Audience) -> dict[str, Any]:
    return {"type": audience.type.value, "statuses": list(audience.statuses)}


def changed_fields(before: Content, after: Content) -> dict[str, Any]:
    """The fields whose value differs, as JSON name → the old and the new value. A body or a long text is a digest."""
    names = [field.name for field in fields(before) if getattr(before, field.name) != getattr(after, field.name)]
    return {
        to_camel(name): {"from": _value(name, getattr(before, name)), "to": _value(name, getattr(after, name))}
        for name in names
    }


def _value(name: str, value: Any) -> Any:
    if isinstance(value, Audience):
        return audience_details(value)
    if isinstance(value, str) and (name in _BODIES or len(value) > MAX_TEXT):
        return digest(value)
    return value
