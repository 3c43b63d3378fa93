"""Whether a sender's domain says, in the DNS, who may send in its name: receivers of any size ask."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from marketing_service.ports import NamesUnavailable
from marketing_service.rendering import Finding, Severity

if TYPE_CHECKING:
    from marketing_service.ports import TextRecords

_PLACE = "fromEmail"
_FEWEST_LABELS = 2


async def domain_findings(
    records: TextRecords, domain: str, *, envelope_domain: str, dkim_selector: str | None
) -> list[Finding]:
    """What From's domain (in ASCII) lacks of DMARC and DKIM, and the envelope's of SPF (RFC 7208 §2.4); what cannot be
    told is a note that says unknown."""
    asked = await asyncio.gather(
        _spf(records, envelope_domain),
        _dmarc(records, domain),
        _dkim(records, domain, dkim_selector),
        return_exceptions=True,
    )
    findings = []
    for name, about, outcome in zip(("SPF", "DMARC", "DKIM"), (envelope_domain, domain, domain), asked, strict=True):
        if isinstance(outcome, NamesUnavailable):
            message = f"Whether {about} has {name} is unknown: {outcome}"
            findings.append(Finding(f"{name}_UNKNOWN", Severity.NOTE, message, _PLACE))
        elif isinstance(outcome, BaseException):
            raise outcome
        elif outcome is not None:
            findings.append(outcome)
    return findings


async def _spf(records: TextRecords, domain: str) -> Finding | None:
    # RFC 7208 §4.5: the version is the whole first word; more than one record is a permanent error.
    policies = [text for text in await records.texts(domain) if text.lower().split(" ")[0] == "v=spf1"]
    if len(policies) == 1:
        return None
    if policies:
        message = f"{domain} has {len(policies)} SPF records; with more than one, none of them counts."
        return Finding("SPF_AMBIGUOUS", Severity.WARNING, message, _PLACE, count=len(policies))
    message = f"{domain} has no SPF record: receivers cannot tell that the relay may send for it."
    return Finding("NO_SPF", Severity.WARNING, message, _PLACE)


async def _dmarc(records: TextRecords, domain: str) -> Finding | None:
    labels = domain.split(".")
    # RFC 7489 §6.6.3: where the domain itself has none, the organisation's counts. Which parent that is, only a list
    # of all public suffixes tells; a suffix that had a record of its own would be mistaken for one.
    for start in range(len(labels) - _FEWEST_LABELS + 1):
        texts = await records.texts("_dmarc." + ".".join(labels[start:]))
        if any(text.replace(" ", "").startswith("v=DMARC1") for text in texts):
            return None
    message = f"{domain} has no DMARC record; large receivers ask for one of everybody who sends much."
    return Finding("NO_DMARC", Severity.WARNING, message, _PLACE)


async def _dkim(records: TextRecords, domain: str, selector: str | None) -> Finding | None:
    if selector is None:
        message = "Whether the relay signs with DKIM is unknown: MARKETING_DKIM_SELECTOR does not say with which key."
        return Finding("DKIM_UNKNOWN", Severity.NOTE, message, _PLACE)
    texts = await records.texts(f"{selector}._domainkey.{domain}")
    tags = [dict(_tag(tag) for tag in text.split(";")) for text in texts]
    if any(found.get("p") for found in tags):  # RFC 6376 §3.6.1: an empty key is one that was revoked
        return None
    message = f"{domain} has no DKIM key under the selector {selector}: receivers cannot check the relay's signature."
    return Finding("NO_DKIM", Severity.WARNING, message, _PLACE)


def _tag(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip()
