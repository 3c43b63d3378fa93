"""A JSON Web Key Set (RFC 7517): parsed from octets, and fetched again from its URL when it is old."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import structlog

from marketing_service.bounded_http import fetch
from marketing_service.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from jwt.algorithms import AllowedPublicKeys

    from marketing_service.bounded_http import Answer

log = structlog.get_logger(__name__)

KEY_SERVER = "The key server"

MAX_KEY_SET_OCTETS = 256 * 1024
"""Octets in a key set, before and after decompression."""
MAX_KEYS = 100
"""Keys in a key set, usable or not."""
MAX_MEMBER_LENGTH = {"n": 1366, "e": 6, "x": 44, "y": 44}
"""Characters (base64url) in the numbers of a key: an RSA modulus of 8,192 bits, an exponent of 32 bits, and the
coordinates of the curves below, each with one more for a leading zero. A verification takes longer, the larger the
numbers are."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, and the one algorithm that it is used with."""

    kid: str | None
    algorithm: str
    key: AllowedPublicKeys


# By (kty, crv) of RFC 7518 §6 and RFC 8037 §2: the algorithm, and the members of the public key. The type of the key
# decides the algorithm, not the token. Symmetric keys (`oct`) are left out: in a public set they are not secret.
_KINDS: dict[tuple[str, str | None], tuple[str, tuple[str, ...]]] = {
    ("RSA", None): ("RS256", ("kty", "n", "e")),
    ("EC", "P-256"): ("ES256", ("kty", "crv", "x", "y")),
    ("OKP", "Ed25519"): ("EdDSA", ("kty", "crv", "x")),
}
ALGORITHMS = frozenset(algorithm for algorithm, _ in _KINDS.values())


def read_key_set(body: bytes) -> tuple[VerificationKey, ...]:
    """The usable keys of a set. Other keys are left out. Raises ValueError if no key is usable."""
    try:
        document = json.loads(body)
    except RecursionError as error:
        raise ValueError("the key set is nested too deeply") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("the key set has no array of keys")  # noqa: TRY004 - a wrong value, whatever its type
    if len(entries) > MAX_KEYS:
        raise ValueError(f"the key set has {len(entries)} keys; {MAX_KEYS} are allowed")
    keys = tuple(key for entry in entries if (key := _read_key(entry)) is not None)
    if not keys:
        raise ValueError("the key set has no usable key")
    return keys


def _read_key(entry: Any) -> VerificationKey | None:
    if not isinstance(entry, dict):
        return None
    kind = _KINDS.get((str(entry.get("kty")), entry.get("crv") and str(entry["crv"])))
    kid = entry.get("kid")
    if kind is None or not (kid is None or isinstance(kid, str)):
        return None
    algorithm, members = kind
    operations = entry.get("key_ops", ["verify"])
    if (
        entry.get("alg", algorithm) != algorithm
        or entry.get("use", "sig") != "sig"
        or not (isinstance(operations, list) and "verify" in operations)
        or any(len(str(entry.get(name))) > MAX_MEMBER_LENGTH.get(name, 16) for name in members)
    ):
        return None
    key = _public_key({name: entry.get(name) for name in members}, algorithm)
    return None if key is None else VerificationKey(kid, algorithm, key)


def _public_key(members: dict[str, Any], algorithm: str) -> AllowedPublicKeys | None:
    """The public key with these members; None if they are malformed, or if the key is too short."""
    try:
        key = jwt.PyJWK(members, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return None if key.Algorithm.check_key_length(key.key) is not None else key.key


def _keys_in(answer: Answer) -> tuple[VerificationKey, ...]:
    if not httpx.codes.is_success(answer.status):
        raise ValueError(f"the key server responded with {answer.status}")
    return read_key_set(answer.body)


class KeySet:
    """The keys at a URL. They are fetched at the first use, when they are old, and when a token names an unknown key.

    Only one fetch runs at a time. If it fails, the old keys stay in use. Durations are in seconds: keys are old after
    `lifetime`; unknown keys cause at most one fetch per `cooldown`; after a failure the next fetch waits for `pause`;
    a fetch fails after `timeout`.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        *,
        lifetime: float = 300.0,
        cooldown: float = 30.0,
        pause: float = 5.0,
        timeout: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._url = url
        self._lifetime = lifetime
        self._cooldown = cooldown
        self._pause = pause
        self._timeout = timeout
        self._clock = clock
        self._keys: tuple[VerificationKey, ...] = ()
        self._fetched_at: float | None = None
        self._failed_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """The key with this id, or, without an id, the only key for the algorithm. None if there is none.

        Raises Unavailable if the key server does not answer and no known key matches.
        """
        if self._is_older_than(self._lifetime):
            await self._fetch()
        key = self._matching(kid, algorithm)
        if key is None and self._is_older_than(self._cooldown):
            await self._fetch()
            key = self._matching(kid, algorithm)
        if key is None and (self._fetched_at is None or self._failed_at is not None):
            raise Unavailable(KEY_SERVER)
        return key

    def _matching(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        matching = [key for key in self._keys if key.algorithm == algorithm and kid in (None, key.kid)]
        return matching[0] if len(matching) == 1 or (matching and kid is not None) else None

    def _is_older_than(self, seconds: float) -> bool:
        return self._fetched_at is None or self._clock() - self._fetched_at >= seconds

    async def _fetch(self) -> None:
        """Fetch the keys, or wait for the fetch that is running. Errors of the server are logged, not raised."""
        if self._failed_at is not None and self._clock() - self._failed_at < self._pause:
            return
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch_now())
        # Shielded: if one caller is cancelled, the fetch continues for the others.
        await asyncio.shield(self._fetching)

    async def _fetch_now(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                answer = await fetch(
                    self._client,
                    "GET",
                    self._url,
                    max_octets=MAX_KEY_SET_OCTETS,
                    headers={"accept": "application/json"},
                )
            self._keys = _keys_in(answer)
        except (httpx.HTTPError, TimeoutError, OSError, ValueError) as error:
            self._failed_at = self._clock()
            log.warning("key_set_unavailable", error=f"{type(error).__name__}: {error}", stale=bool(self._keys))
        else:
            self._fetched_at, self._failed_at = self._clock(), None
