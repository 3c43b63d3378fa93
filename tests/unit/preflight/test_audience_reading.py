"""The limits of an audience: time and number of contacts."""

from __future__ import annotations

import pytest

from marketing_service.preflight import AudienceEndless, ReadingLimit


def test_a_list_beyond_the_number_of_contacts_is_endless() -> None:
    limit = ReadingLimit(seconds=3600, contacts=100)
    limit.check(100)
    with pytest.raises(AudienceEndless, match="more than 100"):
        limit.check(101)


def test_a_list_beyond_the_time_is_endless() -> None:
    with pytest.raises(AudienceEndless, match="within 0 minutes: it had 5 contacts"):
        ReadingLimit(seconds=0).check(5)
