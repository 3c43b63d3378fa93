"""What a launch would do with an audience, counted page by page."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from marketing_service.preflight.fingerprints import FingerprintSet
from marketing_service.rendering import Finding, MergeFields, RenderProblem, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from marketing_service.addresses import MailboxKey, ReadAddress
    from marketing_service.ports import Contact, LeftOut
    from marketing_service.rendering import LargestMessage, RenderCheck


class AudienceStats:
    """Counts each contact once, by the rules that a launch applies. Of several contacts with one address, the first one
    added counts as the recipient, the others as duplicates.

    A million contacts take 34 MB of memory (see FingerprintSet).
    """

    def __init__(self, render_check: RenderCheck, largest: LargestMessage | None = None) -> None:
        """`largest` measures the message of each recipient."""
        self.malformed = self.opted_out = self.suppressed = self.duplicates = self.recipients = 0
        self._render_check = render_check
        self._largest = largest
        self._ids = FingerprintSet()
        self._addresses = FingerprintSet()
        self._missing: Counter[str] = Counter()
        self._problems: Counter[tuple[str, RenderProblem]] = Counter()

    def add(
        self,
        contacts: Iterable[tuple[Contact, ReadAddress]],
        blocked: AbstractSet[MailboxKey],
        suppressed: AbstractSet[MailboxKey],
        missed: AbstractSet[str] = frozenset(),
    ) -> None:
        """Count more contacts, each with what its address says. Of their mailboxes, `blocked` have opted out here, and
        `suppressed` are on the suppression list. `missed` are the contacts to whom an opt-out was never brought."""
        for contact, address in contacts:
            email = (contact.email or "").strip()
            if not email or contact.marketing_opt_out or not self._ids.add(contact.id):
                continue
            if not address.is_deliverable:
                self.malformed += 1
            elif address.key in blocked or contact.id in missed:
                self.opted_out += 1
            elif address.key in suppressed:
                self.suppressed += 1
            elif not self._addresses.add(address.key):
                self.duplicates += 1
            else:
                self._count_recipient(contact, email)

    def _count_recipient(self, contact: Contact, email: str) -> None:
        self.recipients += 1
        fields = MergeFields(email, contact.first_name, contact.last_name, contact.company_name)
        values = fields.cleaned()
        self._missing.update(name for name in self._render_check.placeholders if not values[name])
        self._problems.update(self._render_check.problems(fields))
        if self._largest is not None:
            self._largest.add(fields)

    def findings(self, left_out: LeftOut) -> Iterator[Finding]:
        """The findings about the audience. `left_out` counts the contacts that the CRM did not return."""
        if not self.recipients:
            yield Finding("NOBODY", Severity.WARNING, "No contact would get this message.", _AUDIENCE, count=0)
        for code, severity, message, count in (
            ("OPTED_OUT", Severity.NOTE, "Left out because they have opted out", left_out.opted_out + self.opted_out),
            ("SUPPRESSED", Severity.NOTE, "Left out because they are on the suppression list", self.suppressed),
            ("NO_ADDRESS", Severity.NOTE, "Left out because they have no email address", left_out.without_address),
            ("DUPLICATE", Severity.NOTE, "Left out because another contact has the same address", self.duplicates),
            ("MALFORMED_ADDRESS", Severity.WARNING, "Will fail because their address is malformed", self.malformed),
        ):
            if count:
                yield Finding(code, severity, f"{message}: {_contacts(count)}.", _AUDIENCE, count=count)
        for name, count in sorted(self._missing.items()):
            if self._render_check.placeholders[name]:
                severity, instead = Severity.WARNING, "its place would be empty; give it a default."
            else:
                severity, instead = Severity.NOTE, "the message has a default or a condition for it."
            message = f"{_contacts(count)} would get no {name}: {instead}"
            yield Finding("MISSING_VALUE", severity, message, name, count=count)
        for (place, problem), count in sorted(self._problems.items()):
            what = "would be empty" if problem is RenderProblem.EMPTY else "cannot be filled in"
            message = f"For {_contacts(count)} it {what}."
            yield Finding(problem, Severity.ERROR, message, place, count=count)


_AUDIENCE = "audience"


def _contacts(count: int) -> str:
    return f"{count:,} contact{'' if count == 1 else 's'}"
