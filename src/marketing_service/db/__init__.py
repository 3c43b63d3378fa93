"""PostgreSQL: where it is, how a session is opened and checked, and transactions."""

from marketing_service.db.address import DatabaseAddress
from marketing_service.db.connector import Connector
from marketing_service.db.database import (
    Call,
    Database,
    OnResult,
    Transaction,
    Transactions,
    metadata,
    require_writes,
)
from marketing_service.db.failures import DATABASE_ERRORS, cause_of, reason_of, refuses_data, sqlstate_of
from marketing_service.db.session import Role, SessionOpener, WrongSession

__all__ = [
    "DATABASE_ERRORS",
    "Call",
    "Connector",
    "Database",
    "DatabaseAddress",
    "OnResult",
    "Role",
    "SessionOpener",
    "Transaction",
    "Transactions",
    "WrongSession",
    "cause_of",
    "metadata",
    "reason_of",
    "refuses_data",
    "require_writes",
    "sqlstate_of",
]
