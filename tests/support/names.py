"""A DNS server on loopback with a few TXT records."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass
class Names(asyncio.DatagramProtocol):
    """Responds with the records in `texts`: per name a list of records, and per record a list of strings. `silent`: it
    never responds. `rcode`: it responds with that error."""

    texts: Mapping[str, Sequence[Sequence[bytes]]] = field(default_factory=dict)
    silent: bool = False
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._transport.get_extra_info('sockname')[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if self.silent:
            return
        query = dns.message.from_wire(data)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        question = query.question[0]
        known = self.texts.get(question.name.to_text(omit_final_dot=True).lower())
        if self.rcode != dns.rcode.NOERROR:
            response.set_rcode(self.rcode)
        elif known is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif known:
            records = [" ".join(f'"{part.decode()}"' for part in record) for record in known]
            response.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", "TXT", records))
        self._transport.sendto(response.to_wire(), addr)
