"""What the random lifecycle of `test_lifecycle.py` is made of: its choices, its user, its CRM and its job queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from marketing_service.campaigns.rules import CampaignRules, SenderRules
from marketing_service.launching import ScheduledLaunches
from marketing_service.ledger import resend
from marketing_service.ports import Contact
from marketing_service.store.audit import Actor
from marketing_service.store.states import SendStatus
from tests.support.ledger import ORG

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Database

OUTCOMES = [
    SendStatus.DELIVERED,
    SendStatus.DEFERRED,
    SendStatus.FAILED,
    SendStatus.UNCONFIRMED,
    SendStatus.QUEUED,
]


PEOPLE = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 5), st.sampled_from([True, True, True, False])), min_size=1, max_size=8
)


ACTOR = Actor(ORG, "ada")
RULES = CampaignRules(SenderRules(), public_base_url="https://news.example.com")


class NoQueue:
    """A job queue that loses every job."""

    async def enqueue_expansion(self, _campaign_id: UUID, epoch: int) -> None:
        """Nothing: the rules of the machine do the work."""


NO_QUEUE: Any = NoQueue()
NO_CRM: Any = None
"""No act changes the audience, so no CRM is asked."""
RESENDABLE = [(SendStatus.FAILED,), (SendStatus.UNCONFIRMED,), resend.RESENDABLE]


def launches_of(owner: Database) -> ScheduledLaunches:
    return ScheduledLaunches(owner.transaction, audience=NO_CRM, job_queue=NO_QUEUE, rules=RULES, mailer=None)


def crm_says(contact_id: str) -> Contact | None:
    """The CRM has deleted the third contact, and the fifth one has opted out."""
    if contact_id.endswith("3"):
        return None
    return Contact(contact_id, "x@example.com", None, None, None, "LEAD", contact_id.endswith("5"))
