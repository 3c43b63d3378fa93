"""A CRM with generated contacts, in place of a real one, for compose.try.yaml: `uvicorn --factory crm:create_app`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from marketing_service.devstack.contacts import ContactBook
from marketing_service.devstack.crm import create_crm_app

if TYPE_CHECKING:
    from fastapi import FastAPI


def create_app() -> FastAPI:
    """The CRM's application. CRM_TOKEN is the bearer token of its callers, and CONTACTS the number of contacts."""
    return create_crm_app(ContactBook.of_size(int(os.environ.get("CONTACTS", "1000"))), os.environ["CRM_TOKEN"])
