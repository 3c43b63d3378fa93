"""A CRM's database, with the tables and views of `docs/audience-view.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marketing_service.ports import Contact, ContactStatus

_PASSWORD = "reader"


class CrmDatabase:
    """`owner_url` connects as the owner, `url` as the reader that the documentation creates."""

    def __init__(self, owner_url: str) -> None:
        self.owner_url = owner_url
        parts = urlsplit(owner_url)
        self.url = urlunsplit(parts._replace(netloc=f"marketing_reader:{_PASSWORD}@{parts.hostname}:{parts.port}"))

    def pool(self) -> asyncpg.Pool:
        return asyncpg.create_pool(self.url, min_size=0, max_size=3, statement_cache_size=0)

    async def run(self, *statements: str) -> None:
        """Run the statements as the owner."""
        connection = await asyncpg.connect(self.owner_url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def fill(self, contacts: dict[str, list[Contact]], statuses: Sequence[ContactStatus] = ()) -> None:
        """Insert the contacts, and the statuses for each organisation."""
        connection = await asyncpg.connect(self.owner_url)
        try:
            await connection.execute(f"ALTER ROLE marketing_reader PASSWORD '{_PASSWORD}'")
            await connection.copy_records_to_table(
                "people",
                records=[
                    (
                        org_id,
                        contact.id,
                        contact.email,
                        contact.first_name,
                        contact.last_name,
                        contact.company_name,
                        contact.status,
                        contact.marketing_opt_out,
                    )
                    for org_id, rows in contacts.items()
                    for contact in rows
                ],
            )
            await connection.copy_records_to_table(
                "stages",
                records=[
                    (org_id, status.value, status.label, rank)
                    for org_id in contacts
                    for rank, status in enumerate(statuses)
                ],
            )
        finally:
            await connection.close()
