"""Cursors: a position in a list, as opaque text that the caller sends back to get the next page.

A cursor contains no secret and is not trusted: it only gives a position in the caller's own list.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

from marketing_service.errors import FieldError, InvalidInput
from marketing_service.store.campaigns import CampaignKey
from marketing_service.store.email_log import LogKey

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LATEST = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_MAX_ADDRESS = 400


def campaign_cursor(key: CampaignKey | None) -> str | None:
    return None if key is None else _encode("campaigns", (key.created_at - _EPOCH) // _MICROSECOND, key.id.hex)


def read_campaign_cursor(cursor: str | None) -> CampaignKey | None:
    """The position that the cursor gives. Raises InvalidInput, as all read functions do."""
    match _decode("campaigns", cursor):
        case None:
            return None
        case int(moment), str(key) if type(moment) is int and 0 <= moment <= _LATEST:
            return CampaignKey(_EPOCH + moment * _MICROSECOND, _uuid(key))
        case _:
            raise _invalid()


def log_cursor(key: LogKey | None) -> str | None:
    return None if key is None else _encode("log", key.address, key.id.hex)


def read_log_cursor(cursor: str | None) -> LogKey | None:
    match _decode("log", cursor):
        case None:
            return None
        case str(address), str(key) if len(address) <= _MAX_ADDRESS and "\0" not in address:
            return LogKey(_encodable(address), _uuid(key))
        case _:
            raise _invalid()


def suppression_cursor(key: UUID | None) -> str | None:
    return _id_cursor("suppressions", key)


def read_suppression_cursor(cursor: str | None) -> UUID | None:
    return _read_id_cursor("suppressions", cursor)


def import_cursor(key: UUID | None) -> str | None:
    return _id_cursor("imports", key)


def read_import_cursor(cursor: str | None) -> UUID | None:
    return _read_id_cursor("imports", cursor)


def audit_cursor(key: UUID | None) -> str | None:
    return _id_cursor("audit", key)


def read_audit_cursor(cursor: str | None) -> UUID | None:
    return _read_id_cursor("audit", cursor)


def _id_cursor(listing: str, key: UUID | None) -> str | None:
    return None if key is None else _encode(listing, key.hex)


def _read_id_cursor(listing: str, cursor: str | None) -> UUID | None:
    match _decode(listing, cursor):
        case None:
            return None
        case [str(key)]:
            return _uuid(key)
        case _:
            raise _invalid()


def _encode(listing: str, *place: str | int) -> str:
    text = json.dumps([listing, *place], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _decode(listing: str, cursor: str | None) -> list[object] | None:
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        found = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (UnicodeError, binascii.Error, ValueError, RecursionError):
        raise _invalid() from None
    if not isinstance(found, list) or found[:1] != [listing]:
        raise _invalid()
    return found[1:]


def _uuid(text: str) -> UUID:
    try:
        return UUID(hex=text)
    except ValueError:
        raise _invalid() from None


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _invalid() from None
    return text


def _invalid() -> InvalidInput:
    return InvalidInput(
        FieldError("cursor", "is not a cursor of this list. Leave it out to get the first page.", "cursor")
    )
