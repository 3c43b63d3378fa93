"""Serves the development CRM and the inbox inside the `marketing-service dev` process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from marketing_service.devstack.crm import create_crm_app
from marketing_service.devstack.inbox import Inbox, serve_inbox
from marketing_service.devstack.inbox_app import create_inbox_app
from marketing_service.devstack.web import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from marketing_service.devstack.contacts import ContactBook


@asynccontextmanager
async def serving_crm_and_inbox(contacts: ContactBook, crm_token: str, ports: Mapping[str, int]) -> AsyncIterator[None]:
    """Serves the CRM and the inbox on the loopback ports `crm`, `inbox` and `smtp` while the block runs."""
    inbox = Inbox()
    async with (
        serving(create_crm_app(contacts, crm_token), ports["crm"]),
        serving(create_inbox_app(inbox), ports["inbox"]),
        await serve_inbox(inbox, ports["smtp"]),
    ):
        yield
