"""What the relay is and offers, for an operator who examines the installation."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509

from marketing_service.delivery.address import Encryption
from marketing_service.delivery.opening import ConnectionAttempt

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from marketing_service.delivery.address import RelayAddress


@dataclass(frozen=True, slots=True)
class RelayFacts:
    """One session, as far as the log-in."""

    extensions: Mapping[str, str]
    """EHLO keyword in lower case → parameters."""
    tls_version: str | None
    """For example `TLSv1.3`; None if the session is not encrypted."""
    certificate_ends: datetime | None
    """When the relay's certificate expires, in UTC."""


async def relay_facts(address: RelayAddress, *, seconds: float, hello_name: str) -> RelayFacts:
    """Connect, encrypt and log in as the workers do, and quit. Raises RelayDown, and SettingsError for a CA file."""
    context = None if address.encryption is Encryption.NONE else address.tls_context()
    opened = await ConnectionAttempt(address, context, seconds=seconds, hello_name=hello_name).run()
    try:
        session = opened.transport.get_extra_info("ssl_object")
        encrypted = isinstance(session, (ssl.SSLObject, ssl.SSLSocket))
        certificate = session.getpeercert(binary_form=True) if encrypted else None
        return RelayFacts(
            opened.extensions,
            session.version() if encrypted else None,
            None if certificate is None else x509.load_der_x509_certificate(certificate).not_valid_after_utc,
        )
    finally:
        opened.transport.write(b"QUIT\r\n")
        opened.transport.close()
