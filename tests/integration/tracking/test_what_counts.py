"""Which reports count against an address, from the raw message to the suppression list.

The messages are those of the unit tests of the reports. Each campaign bounces on a day of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from marketing_service.reports import Kind
from marketing_service.tracking import Outcome
from tests.integration.tracking.reported import ANN, about, delivered, suppressions

if TYPE_CHECKING:
    from marketing_service.db import Database
    from marketing_service.tracking import ReportHandler

MESSAGES = Path(__file__).parents[2] / "unit" / "reports" / "messages"
NEVER = (
    "gmail-send-as-account-misconfigured",
    "gmail-send-as-account-unknown",
    "postfix-smtputf8-required",
    "host-network-not-allowed",
    "exchange-supplementary-info-blocked",
    "exchange-supplementary-info-status-alone",
    "two-diagnostics-that-contradict",
    "status-unknown-user-text-about-us",
)
AT_ONCE = ("exchange-supplementary-info-unknown-user", "exim-unknown-user-in-text-alone", "microsoft365-german-base64")


def message(name: str) -> bytes:
    return (MESSAGES / f"{name}.eml").read_bytes()


@pytest.mark.parametrize("name", NEVER)
async def test_three_campaigns_with_a_report_about_us_suppress_nobody(
    owner: Database, handler: ReportHandler, name: str
) -> None:
    for _ in range(3):
        _, send = await delivered(owner)
        assert await about(handler, send, message(name)) == (Kind.FAILED, Outcome.BOUNCED_SOFT)
        async with owner.transaction() as tx:
            await tx.connection.execute(text("UPDATE marketing_soft_bounces SET last_at = last_at - interval '1 day'"))
    assert await suppressions(owner) == []


@pytest.mark.parametrize("name", AT_ONCE)
async def test_a_positive_statement_about_the_mailbox_suppresses_it_at_once(
    owner: Database, handler: ReportHandler, name: str
) -> None:
    _, send = await delivered(owner)
    assert await about(handler, send, message(name)) == (Kind.FAILED, Outcome.BOUNCED_HARD)
    (suppression,) = await suppressions(owner)
    assert (suppression["address"], suppression["reason"]) == (ANN, "HARD_BOUNCE")
