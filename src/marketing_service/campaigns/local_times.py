"""Local times: the moment that a person means who writes a date, a time of day and a time zone.

The rules of the zones come from the package `tzdata`, not from the machine, so that all processes of a version know the
same rules.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

_SECOND = timedelta(seconds=1)


class NoSuchTimeZone(Exception):
    """The text is not the name of a time zone. `similar` is the most similar name, if there is one."""

    def __init__(self, similar: str | None) -> None:
        super().__init__("there is no such time zone")
        self.similar = similar


class NoSuchLocalTime(Exception):
    """The clocks of the zone skip this time. `next` is the first local time after the gap."""

    def __init__(self, following: datetime) -> None:
        super().__init__("there is no such local time")
        self.next = following


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    """The name of every zone, by its name in lower case."""
    return {name.lower(): name for name in files("tzdata").joinpath("zones").read_text("ascii").split()}


@lru_cache(maxsize=1000)
def time_zone(name: str) -> ZoneInfo:
    """The time zone with this name of the IANA database, such as `Europe/London`. Raises NoSuchTimeZone."""
    names = _names()
    if names.get(name.lower()) != name:
        # Abbreviations such as EST are in the list, too, but they are similar to those of other zones.
        similar = get_close_matches(name.lower(), [known for known in names if "/" in known], n=1)
        raise NoSuchTimeZone(names[similar[0]] if similar else None)
    with files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def moment_of(local: datetime, zone: ZoneInfo) -> datetime:
    """The moment, in UTC, at which the clocks of the zone show this time; the first one if they show it twice.

    `local` has no offset. Raises NoSuchLocalTime if the clocks skip it.
    """
    first = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _shown(first, zone) == local.replace(fold=0):
        return first
    # In a gap, the two offsets give a moment before the change of the clocks, and one after it.
    before, after = local.replace(tzinfo=zone, fold=1).astimezone(UTC).replace(microsecond=0), first
    offset = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // (2 * _SECOND) * _SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    raise NoSuchLocalTime(_shown(before + _SECOND, zone))


def _shown(moment: datetime, zone: ZoneInfo) -> datetime:
    """What the clocks of the zone show at the moment."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)
