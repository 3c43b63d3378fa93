"""The statuses of an audience that the CRM no longer has: neither a check nor a launch may go on with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from marketing_service.ports import Audience, AudienceType

if TYPE_CHECKING:
    from marketing_service.ports import AudienceSource


class UnknownStatuses(NamedTuple):
    """How many statuses are unknown, and the sentence that names them."""

    number: int
    message: str


async def find_unknown_statuses(source: AudienceSource, org_id: str, audience: Audience) -> UnknownStatuses | None:
    """None if the CRM has every status of the audience. Raises AudienceUnavailable, AudienceRefused."""
    if audience.type is not AudienceType.BY_STATUS:
        return None
    known = {status.value for status in await source.statuses(org_id)}
    missing = [status for status in audience.statuses if status not in known]
    if not missing:
        return None
    return UnknownStatuses(len(missing), f"The CRM does not know the contact status {', '.join(missing)} any more.")
