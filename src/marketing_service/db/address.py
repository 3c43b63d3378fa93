"""Where a PostgreSQL database is and how to connect to it: a URL that means what it means to libpq.

Source: PostgreSQL 18 documentation, §32.1.1 (connection strings) and §32.1.2 (parameters).
"""

from __future__ import annotations

import difflib
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from marketing_service.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SESSIONS = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
_CHOICES = {"sslmode": _SSL_MODES, "target_session_attrs": _SESSIONS, "sslnegotiation": ("postgres", "direct")}
_FILES = frozenset({"sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile"})
# The driver reads these as libpq does.
_DRIVERS = frozenset({
    "dbname", "gsslib", "host", "krbsrvname", "passfile", "password", "port", "sslcert", "sslcrl", "sslkey", "sslmode",
    "sslnegotiation", "sslpassword", "sslrootcert", "ssl_max_protocol_version", "ssl_min_protocol_version",
    "target_session_attrs", "user",
})  # fmt: skip
_OURS = frozenset({"application_name", "client_encoding", "connect_timeout", "fallback_application_name", "options"})
# The driver has no counterpart. Without them, the connection would not be what the URL asks for.
_NOT_SUPPORTED = frozenset({
    "channel_binding", "gssdelegation", "gssencmode", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle",
    "keepalives_interval", "load_balance_hosts", "max_protocol_version", "min_protocol_version", "replication",
    "require_auth", "requirepeer", "scram_client_key", "scram_server_key", "service", "servicefile", "sslcertmode",
    "sslcompression", "sslcrldir", "sslkeylogfile", "sslsni", "tcp_user_timeout",
})  # fmt: skip
_SYSTEM_CERTIFICATES = "system"
_DEFAULT_PORT = 5432
_MAX_PORT = 65_535


class Host(NamedTuple):
    """A host name, an IP address, or the directory of a Unix socket; and its port."""

    name: str
    port: int


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """A parsed URL. `connect_timeout` is in seconds for each host, None if the URL has none. `str()` shows no
    password."""

    dsn: str = field(repr=False)
    """The URL with only the parameters that the driver reads as libpq does."""
    hosts: tuple[Host, ...]
    """The hosts to try, in their order. Empty: the driver's default."""
    session: str
    """The parameter `target_session_attrs`."""
    server_settings: Mapping[str, str]
    connect_timeout: float | None

    @classmethod
    def parse(cls, url: str) -> DatabaseAddress:
        """Raises ValueError with a sentence that names the parameter that is wrong."""
        parts = urlsplit(url)
        if parts.scheme not in {"postgresql", "postgres"}:
            raise ValueError("must be a URL that starts with postgresql:// or postgres://")
        if parts.fragment:
            raise ValueError("must not contain #; write %23 in a password")
        driver: dict[str, str] = {}
        settings: dict[str, str] = {}
        timeout: float | None = None
        try:
            given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), max_num_fields=50)
        except ValueError:
            raise ValueError("has parameters that cannot be read; write ?name=value&name=value") from None
        for name, value in given:
            _check(name, value)
            match name:
                case "connect_timeout":
                    timeout = _seconds(value)
                case "application_name" | "options":
                    settings[name] = value
                case "fallback_application_name":
                    settings.setdefault("application_name", value)
                case "client_encoding":
                    pass  # the driver always uses UTF-8
                case "sslrootcert" if value == _SYSTEM_CERTIFICATES:
                    driver[name] = _system_certificates()
                case _:
                    driver[name] = value
        _check_together(driver)
        session = driver.pop("target_session_attrs", "any")
        hosts = _hosts(parts.netloc.rpartition("@")[2], driver.pop("host", ""), driver.pop("port", ""))
        user = "".join(parts.netloc.rpartition("@")[:2])
        address = urlunsplit(("postgresql", user, parts.path, urlencode(driver, quote_via=quote), ""))
        return cls(address, hosts, session, settings, timeout)

    @classmethod
    def of_setting(cls, name: str, url: str) -> DatabaseAddress:
        """The address in the setting of this name. Raises SettingsError with one line."""
        try:
            return cls.parse(url)
        except ValueError as error:
            raise SettingsError(f"{name}: {error}") from None


def _check(name: str, value: str) -> None:
    if name in _NOT_SUPPORTED:
        raise ValueError(f"has the parameter {name}, which this service does not support; remove it")
    known = _DRIVERS | _OURS
    if name not in known:
        near = "sslmode" if name == "ssl" else next(iter(difflib.get_close_matches(name, known, 1)), None)
        hint = f"; did you mean {near}?" if near else ""
        raise ValueError(f"has the parameter {name[:60]!r}, which PostgreSQL's clients do not know{hint}")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ValueError(f"has {name}={value[:60]}; it must be one of {', '.join(_CHOICES[name])}")
    if name == "client_encoding" and value.lower().replace("-", "") not in {"utf8", "auto"}:
        raise ValueError("has another client_encoding than UTF8; remove it")
    if name in _FILES and value != _SYSTEM_CERTIFICATES:
        try:
            with Path(value).expanduser().open("rb"):
                pass
        except OSError as error:
            raise ValueError(f"has {name}={value[:200]}, which cannot be read: {error.strerror}") from None


def _check_together(driver: Mapping[str, str]) -> None:
    verifies = driver.get("sslmode", "prefer").startswith("verify-")
    root = Path("~/.postgresql/root.crt").expanduser()
    if verifies and "sslrootcert" not in driver and not root.exists():
        raise ValueError(
            f"has sslmode={driver['sslmode']} without sslrootcert; name the file of the certificate authority, or write"
            " sslrootcert=system for the certificates of this machine"
        )
    if "sslkey" in driver and "sslcert" not in driver:
        raise ValueError("has sslkey without sslcert")


def _hosts(in_address: str, names: str, ports: str) -> tuple[Host, ...]:
    """The hosts of the part before the path, or those of the parameters `host` and `port`, which have priority."""
    written = [_split_port(host) for host in in_address.split(",")] if in_address else []
    if names:
        written = [(name, "") for name in names.split(",")]
    if ports:
        listed = ports.split(",")
        if len(listed) not in {1, len(written) or 1}:
            raise ValueError(f"has {len(listed)} ports for {len(written)} hosts")
        listed *= len(written) if len(listed) == 1 else 1
        written = [(name, port) for (name, _), port in zip(written or [("localhost", "")], listed, strict=False)]
    return tuple(Host(name or "localhost", _port(port)) for name, port in written)


def _split_port(host: str) -> tuple[str, str]:
    """`db.example.com:5432`, `[2001:db8::1]:5432` → the name without brackets, and the port."""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, rest.removeprefix(":")
    name, _, port = host.partition(":")
    return unquote(name), unquote(port)


def _port(port: str) -> int:
    if not port:
        return _DEFAULT_PORT
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) <= _MAX_PORT):
        # The text is not quoted: a "/" in a password makes its start look like a port.
        raise ValueError(f"has a port that is no number from 1 to {_MAX_PORT}; percent-encode / as %2F in a password")
    return int(port)


def _seconds(value: str) -> float | None:
    """libpq: a whole number of seconds; zero, negative or empty means no limit. Here the service's own limit holds."""
    try:
        seconds = int(value or "0")
    except ValueError:
        raise ValueError(f"has connect_timeout={value[:60]}; it must be a whole number of seconds") from None
    return float(seconds) if seconds > 0 else None


def _system_certificates() -> str:
    paths = ssl.get_default_verify_paths()
    for path in (paths.cafile, paths.openssl_cafile, "/etc/ssl/certs/ca-certificates.crt"):
        if path and Path(path).exists():
            return path
    raise ValueError("has sslrootcert=system, but this machine has no file of certificates; name a file")
