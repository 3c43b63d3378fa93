"""The DNS."""

from __future__ import annotations

from typing import Protocol


class DnsUnavailable(Exception):
    """The DNS does not answer, or its answer is an error other than "no such name"."""


class TextRecords(Protocol):
    """Looks up TXT records in the DNS."""

    async def texts(self, name: str) -> list[str]:
        """The TXT records (RFC 1035 §3.3.14) of a name, each as one string; empty if there is no such name.

        Raises DnsUnavailable.
        """
        ...
