"""Local times that the clocks of a time zone skip."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo


def next_skipped_time(zone: str) -> datetime:
    """01:30 on the day on which the clocks go from 01:00 to 02:00 next."""
    day = datetime.now(ZoneInfo("UTC")).replace(tzinfo=None, hour=1, minute=30, second=0, microsecond=0)
    while (day + timedelta(hours=1)).replace(tzinfo=ZoneInfo(zone)).utcoffset() <= day.replace(  # type: ignore[operator]
        tzinfo=ZoneInfo(zone), hour=0
    ).utcoffset():
        day += timedelta(days=1)
    return day
