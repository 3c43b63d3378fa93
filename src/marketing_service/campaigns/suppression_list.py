"""The suppression list: add one address or a CSV file, read the list, remove an address."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marketing_service.addresses import is_deliverable, mailbox_key, read_key_prefix
from marketing_service.campaigns.audit import digest, record
from marketing_service.campaigns.csv_text import original
from marketing_service.errors import FieldError, InvalidInput, NotFound
from marketing_service.ledger.suppressions import lock_campaigns_waiting_for, suppress
from marketing_service.store import suppressions as store
from marketing_service.store.audit import Action
from marketing_service.store.states import SuppressionOrigin, SuppressionReason
from marketing_service.store.suppressions import SuppressionEntry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from uuid import UUID

    from marketing_service.addresses import MailboxKey
    from marketing_service.db import Transaction, Transactions
    from marketing_service.store.audit import Actor
    from marketing_service.store.suppressions import Suppression

MAX_NOTE = 500
MAX_MALFORMED = 1000
"""The number of malformed lines of a file that are reported; the file can have more."""

_ADDRESSES_PER_STATEMENT = 5000
_PAGE = 1000
_MAX_VALUE = 100
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]++")
_DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True)
class Filter:
    """Selects suppressions with one of `reasons` (empty: any reason) and an address that starts with `prefix`, in any
    spelling."""

    reasons: Sequence[SuppressionReason] = ()
    prefix: str | None = None


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line of a file without a valid address. `line` counts from 1."""

    line: int
    value: str


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import: the number of new addresses, of known ones, and the malformed lines."""

    added: int
    known: int
    malformed: tuple[Malformed, ...]


async def add(transactions: Transactions, *, actor: Actor, email: str, note: str | None) -> tuple[Suppression, bool]:
    """Add an address, and skip the waiting sends to it. The second value tells whether it is new. Raises
    InvalidInput."""
    if not is_deliverable(email.strip()):
        raise InvalidInput(FieldError("email", "is not a valid email address.", "email"))
    entry = SuppressionEntry(mailbox_key(email), note)
    async with transactions(actor.org_id) as tx:
        locked = await lock_campaigns_waiting_for(tx.connection, org_id=actor.org_id, addresses=(entry.address,))
        added = await suppress(
            tx.connection,
            org_id=actor.org_id,
            entries=(entry,),
            reason=SuppressionReason.MANUAL,
            origin=SuppressionOrigin.API,
            created_by=actor.subject,
            locked=locked,
        )
        found = await store.find_suppression(tx.connection, org_id=actor.org_id, address=entry.address)
        if added and found is not None:
            await record(tx, actor, Action.SUPPRESSED, suppressionId=str(found.id), address=digest(entry.address))
    if found is None:
        raise NotFound("The address was removed from the list at the same moment. Add it again if you need it.")
    return found, bool(added)


async def remove(transactions: Transactions, *, actor: Actor, suppression_id: UUID) -> None:
    """Remove an address from the list. Raises NotFound."""
    async with transactions(actor.org_id) as tx:
        address = await store.remove_suppression(tx.connection, org_id=actor.org_id, suppression_id=suppression_id)
        if address is None:
            raise NotFound("There is no such entry on the suppression list. Check the id.")
        await record(tx, actor, Action.UNSUPPRESSED, suppressionId=str(suppression_id), address=digest(address))


async def page(
    transactions: Transactions, org_id: str, *, only: Filter, before: UUID | None, limit: int
) -> tuple[list[Suppression], UUID | None]:
    """At most `limit` entries, newest first, and the `before` of the next page; None: this is the last page."""
    async with transactions(org_id) as tx:
        return await _page(tx, org_id, only=only, before=before, limit=limit)


async def _page(
    tx: Transaction, org_id: str, *, only: Filter, before: UUID | None, limit: int
) -> tuple[list[Suppression], UUID | None]:
    found = await store.page_of_suppressions(
        tx.connection,
        org_id=org_id,
        reasons=only.reasons,
        search=read_key_prefix(only.prefix) if only.prefix else None,
        before=before,
        limit=limit + 1,
    )
    return found[:limit], found[limit - 1].id if len(found) > limit else None


async def export(transactions: Transactions, actor: Actor, *, only: Filter) -> AsyncIterator[Sequence[Suppression]]:
    """All entries, one page at a time. Each page is read in its own short transaction; the first one also records the
    export."""
    async with transactions(actor.org_id) as tx:
        items, before = await _page(tx, actor.org_id, only=only, before=None, limit=_PAGE)
        filters = {"reason": list(only.reasons), "q": only.prefix and digest(only.prefix)}
        await record(tx, actor, Action.EXPORTED, export="suppressions", filters=filters)
    while True:
        yield items
        if before is None:
            return
        items, before = await page(transactions, actor.org_id, only=only, before=before, limit=_PAGE)


async def import_csv(transactions: Transactions, *, actor: Actor, file: bytes) -> Imported:
    """Add every address of a CSV file in one transaction, and skip the waiting sends to them.

    Raises InvalidInput if the file is not CSV with a column `email`; then nothing is added.
    """
    # In a thread: parsing a hundred thousand lines would block the event loop.
    entries, malformed = await asyncio.to_thread(_read, file)
    addresses = sorted(entries)
    added = 0
    async with transactions(actor.org_id) as tx:
        locked = await lock_campaigns_waiting_for(tx.connection, org_id=actor.org_id, addresses=addresses)
        for start in range(0, len(addresses), _ADDRESSES_PER_STATEMENT):
            added += await suppress(
                tx.connection,
                org_id=actor.org_id,
                entries=[entries[address] for address in addresses[start : start + _ADDRESSES_PER_STATEMENT]],
                reason=SuppressionReason.MANUAL,
                origin=SuppressionOrigin.CSV,
                created_by=actor.subject,
                locked=locked,
            )
        imported = Imported(added, len(addresses) - added, tuple(malformed))
        await record(
            tx,
            actor,
            Action.IMPORTED,
            file=digest(file),
            added=imported.added,
            known=imported.known,
            malformed=len(imported.malformed),
        )
    return imported


def _read(file: bytes) -> tuple[dict[MailboxKey, SuppressionEntry], list[Malformed]]:
    """The addresses (each once, with its first note) and the malformed lines."""
    entries: dict[MailboxKey, SuppressionEntry] = {}
    malformed: list[Malformed] = []
    try:
        for line, email, note in _rows(file.decode("utf-8-sig")):
            if is_deliverable(email):
                address = mailbox_key(email)
                entries.setdefault(address, SuppressionEntry(address, note))
            elif len(malformed) < MAX_MALFORMED:
                malformed.append(Malformed(line, email[:_MAX_VALUE]))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _no_csv(f"it is not valid CSV in UTF-8 ({error})") from error
    return entries, malformed


def _rows(text: str) -> Iterator[tuple[int, str, str | None]]:
    """The line number, the address and the note of every row that is not empty."""
    header = text.partition("\n")[0]
    # In many European locales spreadsheets use semicolons.
    delimiter = max(_DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns = [name.strip().lower() for name in next(reader, [])]
    if "email" not in columns:
        raise _no_csv("the first line must name the columns, and one of them must be `email`")
    email_at = columns.index("email")
    note_at = columns.index("note") if "note" in columns else None
    for row in reader:
        if any(cell.strip() for cell in row):
            yield reader.line_num, _cell(row, email_at), _cell(row, note_at)[:MAX_NOTE] or None


def _cell(row: Sequence[str], column: int | None) -> str:
    """The text of a cell, without the apostrophes that our own export inserts."""
    if column is None or column >= len(row):
        return ""
    return _CONTROL.sub(" ", original(row[column])).strip()


def _no_csv(reason: str) -> InvalidInput:
    return InvalidInput(FieldError("body", f"is not a list of addresses: {reason}.", "csv"))
