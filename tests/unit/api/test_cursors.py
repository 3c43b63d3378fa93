"""Cursors survive a round trip, and invalid ones are refused."""

import base64
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketing_service.api.cursors import campaign_cursor, log_cursor, read_campaign_cursor, read_log_cursor
from marketing_service.errors import InvalidInput
from marketing_service.store.campaigns import CampaignKey
from marketing_service.store.email_log import LogKey

KEY = UUID("01970000-0000-7000-8000-000000000001")


def cursor_of(*place: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).rstrip(b"=").decode()


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds it
    st.uuids(),
)
def test_a_campaign_cursor_survives_a_round_trip_to_the_microsecond(moment: datetime, key: UUID) -> None:
    place = CampaignKey(moment, key)
    assert read_campaign_cursor(campaign_cursor(place)) == place


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=320), st.uuids())
def test_a_log_cursor_survives_a_round_trip_with_any_address(address: str, key: UUID) -> None:
    place = LogKey(address, key)
    assert read_log_cursor(log_cursor(place)) == place


def test_no_cursor_is_the_start_of_a_list() -> None:
    for result in (campaign_cursor(None), log_cursor(None), read_campaign_cursor(None), read_log_cursor(None)):
        assert result is None


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "a",
        "****",
        "é",
        "\udcff",
        "bm90IGpzb24",
        "W10",
        cursor_of("log", "a@b.example", KEY.hex),
        cursor_of("campaigns"),
        cursor_of("campaigns", 1),
        cursor_of("campaigns", True, KEY.hex),
        cursor_of("campaigns", -1, KEY.hex),
        cursor_of("campaigns", 10**30, KEY.hex),
        cursor_of("campaigns", 1.5, KEY.hex),
        cursor_of("campaigns", 1, "no uuid"),
        cursor_of("campaigns", 1, 2),
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    ],
)
def test_an_invalid_campaign_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_campaign_cursor(cursor)
    assert refused.value.errors[0].field == "cursor"


@pytest.mark.parametrize(
    "cursor",
    [
        cursor_of("campaigns", 1, KEY.hex),
        cursor_of("log", "nul\0", KEY.hex),
        cursor_of("log", "\ud800", KEY.hex),
        cursor_of("log", "a" * 500, KEY.hex),
        cursor_of("log", 1, KEY.hex),
        cursor_of("log", "a@b.example", "x"),
    ],
)
def test_an_invalid_log_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput):
        read_log_cursor(cursor)


@given(st.text(max_size=60))
def test_every_other_text_is_refused(cursor: str) -> None:
    for read in (read_campaign_cursor, read_log_cursor):
        with pytest.raises(InvalidInput):
            read(cursor)
