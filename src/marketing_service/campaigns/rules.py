"""The settings that the campaign use cases need, as small objects that `bootstrap` builds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from marketing_service.languages import Language
from marketing_service.rendering import NO_POSTAL_ADDRESSES, PostalAddresses

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

ANY_ORGANISATION = "*"
"""The key of `SenderRules.domains` that applies to every organisation without a key of its own."""


@dataclass(frozen=True, slots=True)
class SenderRules:
    """Which From addresses a campaign may use.

    `default_address` is the From address of a campaign that names none; None: each campaign must name one.
    `domains` maps an organisation to the domains, in lower case, that it may send from; empty: every domain is allowed.
    """

    default_address: str | None = None
    domains: Mapping[str, Collection[str]] = field(default_factory=dict)

    def may_send_from(self, org_id: str, domain: str) -> bool:
        """Whether the organisation may use this domain in From."""
        if not self.domains:
            return True
        return domain.lower() in self.domains.get(org_id, self.domains.get(ANY_ORGANISATION, ()))


@dataclass(frozen=True, slots=True)
class CampaignRules:
    """What validation and preview need. `public_base_url` is the start of every link that a message contains.
    `default_language` is the language of a campaign that names none."""

    sender: SenderRules
    public_base_url: str
    default_language: Language = Language.EN
    postal_addresses: PostalAddresses = NO_POSTAL_ADDRESSES
