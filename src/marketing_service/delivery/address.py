"""The relay's address, encryption and log-in, parsed from MARKETING_SMTP_URL."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Self
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from marketing_service.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Encryption(StrEnum):
    """How the connection to the relay is encrypted."""

    IF_OFFERED = "IF_OFFERED"
    """STARTTLS if the relay offers it, else no encryption (RFC 3207)."""
    REQUIRED = "REQUIRED"
    """STARTTLS; the connection fails if the relay does not offer it."""
    IMPLICIT = "IMPLICIT"
    """TLS from the first octet (RFC 8314 §3.3)."""
    NONE = "NONE"


_SCHEMES: Mapping[str, tuple[Encryption, int]] = {
    "smtp": (Encryption.IF_OFFERED, 25),
    "smtp+starttls": (Encryption.REQUIRED, 587),
    "smtps": (Encryption.IMPLICIT, 465),
}


@dataclass(frozen=True, slots=True)
class RelayAddress:
    """The relay's host and port, the encryption, and the log-in, if there is one."""

    host: str
    port: int
    encryption: Encryption
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    verify: bool = True
    authorities: str | None = None
    """A file of CA certificates to trust instead of those of the system."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse `smtp://`, `smtp+starttls://` or `smtps://` with `user:password@host:port?verify=no&ca=/path.pem`.

        User and password are percent-encoded. `smtp://` uses STARTTLS if the relay offers it, except on a loopback
        address. Certificates are verified unless `verify=no` is given. Raises SettingsError, and its text never
        contains the address.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise _malformed("is not a valid URL: check its port and brackets") from None
        if parts.scheme not in _SCHEMES:
            raise _malformed(f"must start with {', '.join(f'{scheme}://' for scheme in _SCHEMES)}")
        if not parts.hostname:
            raise _malformed("names no host")
        if parts.path.strip("/") or parts.fragment:
            raise _malformed(
                "must have nothing after host and port except ?verify= and ca=; percent-encode / # ? in a password"
            )
        encryption, usual_port = _SCHEMES[parts.scheme]
        if encryption is Encryption.IF_OFFERED and _is_loopback(parts.hostname):
            encryption = Encryption.NONE
        verify, authorities = _options(parts)
        return cls(
            host=parts.hostname,
            port=port or usual_port,
            encryption=encryption,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password or "") if parts.username else None,
            verify=verify,
            authorities=authorities,
        )

    def tls_context(self) -> ssl.SSLContext:
        """The TLS context that verifies the relay's certificate. Raises SettingsError if a file cannot be read."""
        try:
            context = ssl.create_default_context(cafile=self.authorities)
        except OSError as error:
            raise _malformed(f"names a ca file that cannot be used ({error.strerror or error})") from None
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _options(parts: SplitResult) -> tuple[bool, str | None]:
    try:
        options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise _malformed("has a malformed query: only verify= and ca= are supported") from None
    verify = options.pop("verify", ["yes"])
    authorities = options.pop("ca", [None])
    if options or verify not in (["yes"], ["no"]) or len(authorities) != 1 or authorities == [""]:
        raise _malformed("supports only verify=yes, verify=no and ca=<file> after its ?, each at most once")
    return verify == ["yes"], authorities[0]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _malformed(problem: str) -> SettingsError:
    return SettingsError(f"MARKETING_SMTP_URL {problem}")
