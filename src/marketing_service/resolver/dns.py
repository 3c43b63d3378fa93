"""TextRecords over the DNS, with the system's resolvers or a configured one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.asyncresolver
import dns.exception
import dns.resolver

from marketing_service.ports import DnsUnavailable

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_PORT = 53


class DnsTextRecords:
    """Queries `server` (an address and an optional port), or the system's resolvers if it is None.

    A lookup takes at most `timeout` seconds.
    """

    def __init__(self, server: tuple[IPv4Address | IPv6Address, int | None] | None = None, *, timeout: float) -> None:
        self._server = server
        self._timeout = timeout

    async def texts(self, name: str) -> list[str]:
        """See TextRecords."""
        try:
            # The system's settings are read for each lookup, because they change when the network changes.
            resolver = dns.asyncresolver.Resolver(configure=self._server is None)
            if self._server is not None:
                address, port = self._server
                resolver.nameservers = [str(address)]
                resolver.port = port or _PORT
            resolver.lifetime = self._timeout
            response = await resolver.resolve(name, "TXT", search=False)
        except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise DnsUnavailable(f"The DNS lookup failed ({type(error).__name__}).") from error
        return [b"".join(record.strings).decode(errors="replace") for record in response]
