"""How much an audience source accepts from its CRM, whether that is an HTTP API or a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.ports import AudienceUnavailable

if TYPE_CHECKING:
    from collections.abc import Sized

MAX_ID_LENGTH = 64
"""Characters in a contact's id."""
MAX_WITH_EMAIL = 1000
"""Contacts with one address."""
MAX_STATUSES = 1000
"""Statuses that a contact can have."""


def validate_number_with_email(found: Sized) -> None:
    """Raises AudienceUnavailable if these contacts with one address are too many."""
    if len(found) > MAX_WITH_EMAIL:
        raise AudienceUnavailable(f"The CRM has more than {MAX_WITH_EMAIL} contacts with one address.")
