"""What a failed statement or connection means: an outage, with its true cause, or an error of the statement.

Source of the codes: PostgreSQL 18 documentation, appendix A.
"""

from __future__ import annotations

import ssl

import asyncpg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from marketing_service.db.connector import FAILURES
from marketing_service.db.session import WrongSession
from marketing_service.errors import Unavailable
from marketing_service.open_files import TOO_MANY_OPEN_FILES, too_many_open_files

DATABASE_ERRORS = (SQLAlchemyError, *FAILURES)
"""What a statement can raise that is no outage; an outage is Unavailable."""
_PART = "PostgreSQL"
_NO_ANSWER = "does not answer"
_READ_ONLY = "is read-only: a standby, or a server that was made read-only"
READ_ONLY = f"{_PART} {_READ_ONLY}; try again in a few seconds."
_POOL_IN_USE = "has no free connection: all of MARKETING_DATABASE_POOL are in use"
_NO_SUCH_HOST = "has no host of the kind that target_session_attrs asks for"
_OLD_SCHEMA = "lacks a part of the schema that this version needs: run `marketing-service migrate`"

# By SQLSTATE, or by its class. The first that fits decides; the text follows the name of the server.
_CAUSES = {
    "25006": _READ_ONLY,
    "28": "refuses the log-in of this service",
    "3D000": "does not have the database of this service",
    "53100": "has no disk space left",
    "53200": "has no memory left",
    "53300": "has no connection left for this service",
    "53": "has no resources left",
    "57P03": "is starting up or shutting down",
    "57P01": "is shutting down",
    "57P02": "is restarting after a crash",
    "57P05": "has ended a session that was idle for too long",
    "57014": "did not finish a statement in time",
    "57": "has interrupted the statement",
    "25P03": "has ended a transaction that was idle for too long",
    "25P04": "has ended a transaction that took too long",
    "42P01": _OLD_SCHEMA,
    "42703": _OLD_SCHEMA,
    "42883": _OLD_SCHEMA,
    "42501": "does not give this service the rights that it needs: run `marketing-service migrate`",
    "40": "has ended the transaction because of a conflict with another one",
    "55P03": "could not lock a row in time",
    "58": "has an error of its own system",
    "08": _NO_ANSWER,
}


class PoolInUse(Exception):
    """Every connection of a pool is in use, and none became free in time."""


def unavailable(error: BaseException) -> Unavailable | None:
    """The outage that this error is; None if it is an error of the statement, which would fail again."""
    if isinstance(error, WrongSession):
        return Unavailable(_PART, f"{_PART} cannot be used as it is. {error}")
    text = _outage(error)
    return (
        None
        if text is None
        else Unavailable(_PART, f"{_PART} {text}; try again in a few seconds.", cause=cause_of(error))
    )


def reason_of(error: BaseException) -> str | None:
    """What PostgreSQL does, and the driver's own words, for the person who started a command; None if it is an error
    of the statement."""
    text = _outage(error)
    return None if text is None else f"{_PART} {text} ({cause_of(error)})."


def _outage(error: BaseException) -> str | None:
    """What PostgreSQL does, as a sentence without its subject; None if it is no outage."""
    text: str | None
    match error:
        case PoolTimeout() | PoolInUse():
            text = _POOL_IN_USE
        case asyncpg.TargetServerAttributeNotMatched():
            text = _NO_SUCH_HOST
        case DBAPIError():
            text = _outage_behind(error)
        case asyncpg.InsufficientPrivilegeError() if "row-level security" in str(error):
            text = None  # a row of another organisation
        case asyncpg.PostgresError():
            code = error.sqlstate or "08"
            text = _CAUSES.get(code) or _CAUSES.get(code[:2])
        case OSError() if too_many_open_files(error):
            text = TOO_MANY_OPEN_FILES
        case ssl.SSLError():
            text = "cannot be reached over TLS"
        case ValueError() if not isinstance(error, asyncpg.ClientConfigurationError):
            text = None  # an argument that the driver cannot encode
        case _:
            text = _NO_ANSWER if isinstance(error, FAILURES) else None
    return text


def _outage_behind(error: DBAPIError) -> str | None:
    """SQLAlchemy's error has that of its adapter, which has that of the driver as its cause."""
    cause: BaseException | None = error.orig
    while cause is not None:
        if (text := _outage(cause)) is not None:
            return text
        cause = cause.__cause__
    return _NO_ANSWER if error.connection_invalidated else None


def refuses_data(error: BaseException) -> bool:
    """Whether PostgreSQL, or the driver, refuses the values of a statement (classes 22 and 23), so that the same
    statement with other values would succeed."""
    error = _of_driver(error)
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in {"22", "23"}
    return isinstance(error, (ValueError, TypeError)) and isinstance(error, asyncpg.InterfaceError)


def cause_of(error: BaseException) -> str:
    """The driver's own words, for the log: the class of the error and its first line."""
    error = _of_driver(error)
    line = str(error).partition("\n")[0][:300]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def sqlstate_of(error: BaseException) -> str | None:
    """The SQLSTATE of the driver's error, if PostgreSQL has replied with one."""
    error = _of_driver(error)
    return error.sqlstate if isinstance(error, asyncpg.PostgresError) else None


def _of_driver(error: BaseException) -> BaseException:
    """The driver's error behind SQLAlchemy's, or the error itself."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error
