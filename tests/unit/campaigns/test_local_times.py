"""A local time means one moment: the first one at which the clocks show it. A time that they skip has a successor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketing_service.campaigns.local_times import NoSuchLocalTime, NoSuchTimeZone, moment_of, time_zone

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

NAMES = files("tzdata").joinpath("zones").read_text().split()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("zone", "local", "moment"),
    [
        ("Europe/London", "2026-12-01T09:00:00", "2026-12-01T09:00:00+00:00"),
        ("Europe/London", "2027-06-01T09:00:00", "2027-06-01T08:00:00+00:00"),
        ("Asia/Kolkata", "2027-01-01T00:00:00", "2026-12-31T18:30:00+00:00"),
        # The clocks show these times twice, and the first one is meant.
        ("Europe/London", "2026-10-25T01:30:00", "2026-10-25T00:30:00+00:00"),
        ("America/New_York", "2026-11-01T01:59:59", "2026-11-01T05:59:59+00:00"),
        ("Australia/Lord_Howe", "2027-04-04T01:45:00", "2027-04-03T14:45:00+00:00"),
        # The last moment before a gap, and the first one after it.
        ("Europe/London", "2027-03-28T00:59:59.999999", "2027-03-28T00:59:59.999999+00:00"),
        ("Europe/London", "2027-03-28T02:00:00", "2027-03-28T01:00:00+00:00"),
        # These places have abolished summer time: their clocks skip and repeat nothing any more.
        ("America/Sao_Paulo", "2026-11-01T00:30:00", "2026-11-01T03:30:00+00:00"),
        ("America/Mexico_City", "2027-04-04T02:30:00", "2027-04-04T08:30:00+00:00"),
        ("Asia/Tehran", "2027-03-22T00:30:00", "2027-03-21T21:00:00+00:00"),
        ("Europe/Moscow", "2027-03-28T02:30:00", "2027-03-27T23:30:00+00:00"),
        ("Asia/Amman", "2027-02-26T00:30:00", "2027-02-25T21:30:00+00:00"),
    ],
)
def test_a_local_time_is_one_moment(zone: str, local: str, moment: str) -> None:
    assert moment_of(at(local), time_zone(zone)) == at(moment)


@pytest.mark.parametrize(
    ("zone", "local", "following"),
    [
        ("Europe/London", "2027-03-28T01:00:00", "2027-03-28T02:00:00"),
        ("Europe/London", "2027-03-28T01:59:59.999999", "2027-03-28T02:00:00"),
        ("America/New_York", "2027-03-14T02:30:00", "2027-03-14T03:00:00"),
        ("Australia/Lord_Howe", "2026-10-04T02:10:00", "2026-10-04T02:30:00"),
        ("Africa/Cairo", "2027-04-30T00:30:00", "2027-04-30T01:00:00"),
        ("Pacific/Apia", "2011-12-30T12:00:00", "2011-12-31T00:00:00"),
        # Before the abolition.
        ("America/Sao_Paulo", "2018-11-04T00:30:00", "2018-11-04T01:00:00"),
    ],
)
def test_a_skipped_time_has_the_first_time_after_the_gap(zone: str, local: str, following: str) -> None:
    with pytest.raises(NoSuchLocalTime) as caught:
        moment_of(at(local), time_zone(zone))
    assert caught.value.next == at(following)


def skipped_until(local: datetime, zone: ZoneInfo) -> datetime | None:
    try:
        moment_of(local, zone)
    except NoSuchLocalTime as error:
        return error.next
    return None


@given(st.sampled_from(NAMES), st.datetimes(at("2026-01-01"), at("2038-01-01")))
def test_no_earlier_moment_shows_the_time_and_the_next_time_is_the_first_that_exists(
    name: str, local: datetime
) -> None:
    zone = time_zone(name)

    def shown(moment: datetime) -> datetime:
        return moment.astimezone(zone).replace(tzinfo=None, fold=0)

    following = skipped_until(local, zone)
    if following is not None:
        assert following > local
        assert skipped_until(following - timedelta(microseconds=1), zone) == following
        local = following
    moment = moment_of(local, zone)
    assert shown(moment) == local
    assert moment.tzinfo is UTC
    assert all(shown(moment - timedelta(minutes=minutes)) != local for minutes in range(15, 200, 15))


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("europe/london", "Europe/London"),
        ("Europe/Londn", "Europe/London"),
        ("CEST", None),
        ("+01:00", None),
        ("", None),
        ("../../etc/passwd", None),
        ("/usr/share/zoneinfo/Europe/London", None),
        ("localtime", None),
        ("Europe/London\0", "Europe/London"),
    ],
)
def test_an_unknown_name_is_refused_with_the_most_similar_one(name: str, similar: str | None) -> None:
    with pytest.raises(NoSuchTimeZone) as caught:
        time_zone(name)
    assert caught.value.similar == similar


def test_every_name_of_the_list_has_rules() -> None:
    assert len(NAMES) > 500
    assert all(time_zone(name).utcoffset(at("2027-01-01")) is not None for name in NAMES)
