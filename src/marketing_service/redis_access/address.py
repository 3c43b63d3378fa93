"""Where Redis is and how to connect to it: the URL in MARKETING_REDIS_URL.

    redis://user:password@host:6379/0          rediss://… over TLS
    unix://user:password@/path/of/socket?db=0
    redis+sentinel://user:password@host:26379,host:26379/service/0          rediss+sentinel://… over TLS

The options are those of redis-py that change where or as whom the service connects. Time limits are the service's own.
"""

from __future__ import annotations

import difflib
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio import ConnectionPool, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from marketing_service.redis_access.connections import PrimaryConnection, PrimaryTlsConnection
from marketing_service.redis_access.sentinel import ConcurrentSentinel, PrimaryPool

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_OPTIONS = frozenset({*_FILES, "ssl_cert_reqs", "ssl_check_hostname"})
_SENTINEL_OPTIONS = frozenset({"sentinel_username", "sentinel_password"})
_OPTIONS = frozenset({"db", "username", "password", "client_name"})
# Known to redis-py, and set by this service.
_OURS = frozenset({
    "decode_responses", "encoding", "encoding_errors", "health_check_interval", "max_connections", "protocol",
    "retry_on_error", "retry_on_timeout", "socket_connect_timeout", "socket_keepalive", "socket_timeout", "timeout",
})  # fmt: skip
_YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_PORT = 6379
_SENTINEL_PORT = 26379
_MAX_PORT = 65_535
_MAX_SHOWN = 200


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A parsed URL. `str()` shows no password."""

    server: Mapping[str, Any] = field(repr=False)
    """What a connection to the server is made with: place, log-in and TLS. With Sentinel, it has no place."""
    sentinel: Mapping[str, Any] = field(repr=False)
    """The same for a connection to a Sentinel."""
    sentinels: tuple[tuple[str, int], ...]
    """The Sentinels, of which one must answer. Empty: the server is at a fixed place."""
    service: str
    """The name that the Sentinels have for the server."""
    over_tls: bool

    @classmethod
    def parse(cls, url: str) -> RedisAddress:
        """Raises ValueError with a sentence that names what is wrong, without the password."""
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ValueError("is not a valid URL: check its brackets, and percent-encode / # ? in a password") from None
        if parts.scheme not in REDIS_SCHEMES:
            raise ValueError(f"must be a URL that starts with {' or '.join(s + '://' for s in REDIS_SCHEMES)}")
        over_tls, by_sentinel = parts.scheme.startswith("rediss"), parts.scheme.endswith("+sentinel")
        options = _options(parts)
        login = _login(parts, options)
        tls = _tls(options) if over_tls else {}
        server: dict[str, Any] = {**login, **tls}
        if "client_name" in options:
            server["client_name"] = options["client_name"]
        service, path = "", unquote(parts.path)
        if by_sentinel:
            service, _, path = path.strip("/").partition("/")
            if not service:
                raise ValueError("has no name of a service; write redis+sentinel://host:26379,host:26379/service/0")
        elif parts.scheme == "unix":
            if parts.hostname or not path.strip("/"):
                raise ValueError("must have the path of a socket after three slashes: unix:///path")
            server["path"], path = path, ""
        else:
            ((host, port),) = _hosts(parts, _PORT, most=1)
            server |= {"host": host, "port": port}
        server["db"] = _database(options.get("db", path.strip("/")))
        names = {"username": options.get("sentinel_username"), "password": options.get("sentinel_password")}
        return cls(
            server=server,
            sentinel={**{name: value for name, value in names.items() if value}, **tls},
            sentinels=_hosts(parts, _SENTINEL_PORT) if by_sentinel else (),
            service=service,
            over_tls=over_tls,
        )

    def pool(self, *, timeout: float, **values: Any) -> ConnectionPool:
        """Connections whose every step takes at most `timeout` seconds. Opens none yet. `values` are redis-py's."""
        limits = _limits(timeout)
        if not self.sentinels:
            kind = UnixDomainSocketConnection if "path" in self.server else PrimaryConnection
            return ConnectionPool(
                connection_class=PrimaryTlsConnection if self.over_tls else kind, **self.server, **limits, **values
            )
        sentinel = ConcurrentSentinel(
            self.sentinels,
            # Half of the time, so that the other half is left for the server if a Sentinel hangs.
            sentinel_kwargs={**self.sentinel, **_limits(timeout / 2), **({"ssl": True} if self.over_tls else {})},
        )
        return PrimaryPool(  # type: ignore[no-untyped-call] # redis has no types here
            self.service,
            sentinel,
            connection_class=SentinelManagedSSLConnection if self.over_tls else SentinelManagedConnection,
            **self.server,
            **limits,
            **values,
        )


def _limits(seconds: float) -> dict[str, Any]:
    return {"socket_timeout": seconds, "socket_connect_timeout": seconds}


def _options(parts: SplitResult) -> dict[str, str]:
    try:
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), max_num_fields=50)
    except ValueError:
        raise ValueError("has options that cannot be read; write ?name=value&name=value") from None
    known = set(_OPTIONS)
    if parts.scheme.startswith("rediss"):
        known |= _TLS_OPTIONS
    if parts.scheme.endswith("+sentinel"):
        known |= _SENTINEL_OPTIONS
    for name, _ in given:
        if name in _OURS:
            raise ValueError(f"has the option {name}, which this service sets itself; remove it")
        if name in _TLS_OPTIONS - known:
            raise ValueError(f"has the option {name}, which needs TLS; write rediss:// or rediss+sentinel://")
        if name in _SENTINEL_OPTIONS - known:
            raise ValueError(f"has the option {name}, which needs redis+sentinel:// or rediss+sentinel://")
        if name not in known:
            near = next(iter(difflib.get_close_matches(name, known, 1)), None)
            hint = f"; did you mean {near}?" if near else ""
            raise ValueError(f"has the unknown option {name[:_MAX_SHOWN]!r}{hint}")
    options = dict(given)
    if len(options) < len(given):
        raise ValueError("has an option twice; keep one")
    return options


def _login(parts: SplitResult, options: Mapping[str, str]) -> dict[str, str]:
    """redis-py: the part before the host has priority over the options."""
    found = {"username": unquote(parts.username or ""), "password": unquote(parts.password or "")}
    found = {name: value or options.get(name, "") for name, value in found.items()}
    return {name: value for name, value in found.items() if value}


def _hosts(parts: SplitResult, default_port: int, *, most: int = 50) -> tuple[tuple[str, int], ...]:
    written = parts.netloc.rpartition("@")[2].split(",")
    if len(written) > most:
        raise ValueError("has several hosts; only redis+sentinel:// and rediss+sentinel:// take them")
    return tuple(_host(host, default_port) for host in written)


def _host(text: str, default_port: int) -> tuple[str, int]:
    """`cache.example.com:6379`, `[2001:db8::1]:6379` → the name without brackets, and the port."""
    if text.startswith("["):
        name, closed, port = text[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            raise ValueError("is not a valid URL: check its port and brackets")
    else:
        name, _, port = text.partition(":")
    port = port.removeprefix(":") or str(default_port)
    if not name:
        raise ValueError("has no host; write, for example, redis://host:6379/0")
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) <= _MAX_PORT):
        # The text is not quoted: a "/" in a password makes its start look like a port.
        raise ValueError(f"has a port that is no number from 1 to {_MAX_PORT}; percent-encode / as %2F in a password")
    return unquote(name), int(port)


def _database(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) <= 5):  # noqa: PLR2004 - a server has 16, rarely more
        raise ValueError("must have the number of a database as its path; percent-encode / ? # in a password")
    return int(text)


def _tls(options: Mapping[str, str]) -> dict[str, Any]:
    """redis-py's options. Unlike there, the host name is checked unless the URL says no."""
    requires = options.get("ssl_cert_reqs", "required")
    if requires not in {"required", "none"}:
        raise ValueError(f"has ssl_cert_reqs={requires[:_MAX_SHOWN]}; it must be required or none")
    checks_name = _YES.get(options.get("ssl_check_hostname", "yes").lower())
    if checks_name is None:
        raise ValueError("has an ssl_check_hostname that is neither yes nor no")
    files = {name: str(Path(options[name]).expanduser()) for name in _FILES if name in options}
    if "ssl_keyfile" in files and "ssl_certfile" not in files:
        raise ValueError("has ssl_keyfile without ssl_certfile")
    if "ssl_certfile" in files:
        files.setdefault("ssl_keyfile", files["ssl_certfile"])  # one file may have both
    _check_files(files)
    return {**files, "ssl_cert_reqs": requires, "ssl_check_hostname": checks_name and requires == "required"}


def _check_files(files: Mapping[str, str]) -> None:
    for name, path in files.items():
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise ValueError(f"has {name}={path[:_MAX_SHOWN]}, which cannot be read: {error.strerror}") from None
    context = ssl.create_default_context()
    try:
        if "ssl_ca_certs" in files:
            context.load_verify_locations(cafile=files["ssl_ca_certs"])
    except ssl.SSLError:
        raise ValueError("has an ssl_ca_certs that has no certificate in the form PEM") from None
    try:
        if "ssl_certfile" in files:
            # Without the password, OpenSSL would ask for it on the terminal.
            context.load_cert_chain(files["ssl_certfile"], files["ssl_keyfile"], password=lambda: b"")
    except ssl.SSLError:
        raise ValueError(
            "has an ssl_certfile and an ssl_keyfile that do not belong together, are no PEM, or need a password"
        ) from None
