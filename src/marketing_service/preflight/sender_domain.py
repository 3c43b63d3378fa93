"""Checks the SPF, DKIM and DMARC records of a sender's domain in the DNS. Large receivers require them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from marketing_service.ports import DnsUnavailable
from marketing_service.rendering import Finding, Severity

if TYPE_CHECKING:
    from marketing_service.ports import TextRecords

_PLACE = "fromEmail"
_MIN_LABELS = 2


async def domain_findings(
    records: TextRecords, domain: str, *, envelope_domain: str, dkim_selector: str | None
) -> list[Finding]:
    """Findings about missing records: DMARC and DKIM of From's domain (in ASCII), SPF of the envelope's domain
    (RFC 7208 §2.4). If the DNS does not answer, the finding is a note that the record is unknown."""
    outcomes = await asyncio.gather(
        _spf(records, envelope_domain),
        _dmarc(records, domain),
        _dkim(records, domain, dkim_selector),
        return_exceptions=True,
    )
    findings = []
    for name, about, outcome in zip(("SPF", "DMARC", "DKIM"), (envelope_domain, domain, domain), outcomes, strict=True):
        if isinstance(outcome, DnsUnavailable):
            message = f"It is unknown whether {about} has {name}: {outcome}"
            findings.append(Finding(f"{name}_UNKNOWN", Severity.NOTE, message, _PLACE))
        elif isinstance(outcome, BaseException):
            raise outcome
        elif outcome is not None:
            findings.append(outcome)
    return findings


async def _spf(records: TextRecords, domain: str) -> Finding | None:
    # RFC 7208 §4.5: the version is the first word and nothing less; more than one record is a permanent error.
    policies = [text for text in await records.texts(domain) if text.lower().split(" ")[0] == "v=spf1"]
    if len(policies) == 1:
        return None
    if policies:
        message = f"{domain} has {len(policies)} SPF records; with more than one, receivers ignore all of them."
        return Finding("SPF_AMBIGUOUS", Severity.WARNING, message, _PLACE, count=len(policies))
    message = f"{domain} has no SPF record: receivers cannot verify that the relay may send for it."
    return Finding("NO_SPF", Severity.WARNING, message, _PLACE)


async def _dmarc(records: TextRecords, domain: str) -> Finding | None:
    labels = domain.split(".")
    # RFC 7489 §6.6.3: if the domain has no record, the record of the organisational domain applies. Only the list of
    # public suffixes tells which parent that is. Without the list every parent is tried, so a record of a public suffix
    # would wrongly count.
    for start in range(len(labels) - _MIN_LABELS + 1):
        texts = await records.texts("_dmarc." + ".".join(labels[start:]))
        if any(text.replace(" ", "").startswith("v=DMARC1") for text in texts):
            return None
    message = f"{domain} has no DMARC record; large receivers require one from bulk senders."
    return Finding("NO_DMARC", Severity.WARNING, message, _PLACE)


async def _dkim(records: TextRecords, domain: str, selector: str | None) -> Finding | None:
    if selector is None:
        message = "It is unknown whether the relay signs with DKIM, because MARKETING_DKIM_SELECTOR is not set."
        return Finding("DKIM_UNKNOWN", Severity.NOTE, message, _PLACE)
    texts = await records.texts(f"{selector}._domainkey.{domain}")
    tags = [dict(_tag(tag) for tag in text.split(";")) for text in texts]
    if any(found.get("p") for found in tags):  # RFC 6376 §3.6.1: an empty key is revoked
        return None
    message = f"{domain} has no DKIM key under the selector {selector}: receivers cannot verify the relay's signature."
    return Finding("NO_DKIM", Severity.WARNING, message, _PLACE)


def _tag(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip()
