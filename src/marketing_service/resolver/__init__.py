"""The DNS, asked for text records."""

from marketing_service.resolver.dns import DnsTextRecords

__all__ = ["DnsTextRecords"]
