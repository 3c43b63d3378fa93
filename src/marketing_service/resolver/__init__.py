"""DNS lookups of TXT records."""

from marketing_service.resolver.dns import DnsTextRecords

__all__ = ["DnsTextRecords"]
