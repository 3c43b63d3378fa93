"""The web addresses that an operator configures, in one normal form: the start of the links in messages, and others.

A process checks them when it starts (`settings.py`). The compiled message uses the same function for its own address.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

from marketing_service.rendering.budget import NotRenderable
from marketing_service.rendering.headers import ascii_domain

MAX_PUBLIC_URL = 500
"""Characters. With a token, a link then stays below the 998 octets of a line (RFC 5322 §2.1.1)."""

_MAX_URL = 2000
_MAX_PORT = 65535
_DEFAULT_PORTS = {"http": 80, "https": 443}
_BLANK = re.compile(r"[\s\x00-\x20\x7f-\x9f]")
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*+)(?P<path>[^?#]*+)(?P<query>\?[^#]*+)?(?P<fragment>#.*+)?",
    re.IGNORECASE,
)
_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]++\]|[^\[\]:]++)(?::(?P<port>[0-9]{0,6}+))?")
# The characters of RFC 3986 §3.3 and §3.4, and "%" before what is encoded already.
_PATH_AND_QUERY = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*+")
# In a message, the address stands in HTML, in a header field and in a text. These characters need no escaping there.
_PUBLIC_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]++)*+")


def web_url(text: str, *, query: bool = False) -> str:
    """The http or https URL with its scheme and host in lower case and ASCII, and without a default port.

    `query`: whether it may have a query. Raises ValueError with the end of a sentence, which does not quote the URL.
    """
    origin, path, found_query = _parts(text)
    if found_query and not query:
        raise ValueError("must have no query (?)")
    if not _PATH_AND_QUERY.fullmatch(path + found_query):
        raise ValueError("has a character that a URL cannot contain; percent-encode it")
    return origin + path + found_query


def public_url(text: str) -> str:
    """The start of every link in a message, in normal form: as `web_url`, and without a slash at its end.

    Raises ValueError, as `web_url` does, also for a path that a message cannot contain everywhere as it is written.
    """
    origin, path, query = _parts(text)
    path = path.rstrip("/")
    if query:
        raise ValueError("must have no query (?)")
    if "_" in origin:
        raise ValueError("has a host that is no domain: a domain has no underscore")
    if not _PUBLIC_PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        raise ValueError(
            "has a path that a message cannot contain: use only letters of ASCII, digits, - . _ ~ and single slashes"
        )
    if len(origin + path) > MAX_PUBLIC_URL:
        raise ValueError(f"is longer than {MAX_PUBLIC_URL} characters")
    return origin + path


def _parts(text: str) -> tuple[str, str, str]:
    """The normal origin, the path, and the query with its "?"."""
    text = text.strip(" \t\r\n")
    if len(text) > _MAX_URL:
        raise ValueError(f"is longer than {_MAX_URL:,} characters")
    if _BLANK.search(text):
        raise ValueError("must contain no blank and no control character")
    found = _URL.fullmatch(text)
    if found is None:
        raise ValueError("must be a URL that starts with http:// or https://, like https://mail.example.com")
    if found["fragment"] is not None:
        raise ValueError("must have no fragment (#)")
    if "@" in found["authority"]:
        raise ValueError("must contain no user name and no password (@)")
    scheme = found["scheme"].lower()
    return f"{scheme}://{_host_and_port(scheme, found['authority'])}", found["path"], found["query"] or ""


def _host_and_port(scheme: str, authority: str) -> str:
    found = _HOST_AND_PORT.fullmatch(authority)
    if found is None:
        raise ValueError("has no valid host and port, like https://mail.example.com:8443")
    port = int(found["port"] or _DEFAULT_PORTS[scheme])
    if not 0 < port <= _MAX_PORT:
        raise ValueError(f"has a port that is not between 1 and {_MAX_PORT}")
    host = _host(found["host"])
    return host if port == _DEFAULT_PORTS[scheme] else f"{host}:{port}"


def _host(written: str) -> str:
    """The host in lower case: an IP address, or a domain in A-labels (RFC 5890)."""
    if written.startswith("["):
        try:
            return f"[{IPv6Address(written[1:-1])}]"
        except ValueError:
            raise ValueError("has a host that is no IPv6 address") from None
    host = written.removesuffix(".")
    if host.rpartition(".")[2].isdecimal():  # a browser reads every such host as an IPv4 address (WHATWG URL §3.5)
        try:
            return str(ip_address(host))
        except ValueError:
            raise ValueError("has a host that is no IPv4 address") from None
    # A name in a private network, such as that of a container, may have an underscore.
    plain = re.sub("(?<=[A-Za-z0-9])_+(?=[A-Za-z0-9])", "-", host) if host.isascii() else host
    try:
        ascii_host = ascii_domain(plain)
    except NotRenderable:
        raise ValueError("has a host that is neither a domain nor an IP address") from None
    return (host if host.isascii() else ascii_host).lower()
