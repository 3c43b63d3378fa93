"""A JSON Web Key Set (RFC 7517): read from bytes, and kept fresh from an address."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import structlog

from marketing_service.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from jwt.algorithms import AllowedPublicKeys

log = structlog.get_logger(__name__)

KEY_SERVER = "The key server"


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, and the one algorithm it verifies."""

    kid: str | None
    algorithm: str
    key: AllowedPublicKeys


# By (kty, crv) of RFC 7518 §6 and RFC 8037 §2, with the members that make the public key: the key's type, and
# not the token, decides the algorithm. A symmetric key (`oct`) in a public set would be no secret.
_KINDS: dict[tuple[str, str | None], tuple[str, tuple[str, ...]]] = {
    ("RSA", None): ("RS256", ("kty", "n", "e")),
    ("EC", "P-256"): ("ES256", ("kty", "crv", "x", "y")),
    ("OKP", "Ed25519"): ("EdDSA", ("kty", "crv", "x")),
}
ALGORITHMS = frozenset(algorithm for algorithm, _ in _KINDS.values())


def read_key_set(body: bytes) -> tuple[VerificationKey, ...]:
    """The usable keys of a set; others are left out. Raises ValueError where there is none."""
    try:
        document = json.loads(body)
    except RecursionError as error:
        raise ValueError("the key set is nested too deeply") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("the key set has no array of keys")  # noqa: TRY004 - a wrong value, whatever its type
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
    ):
        return None
    try:
        key = jwt.PyJWK({name: entry.get(name) for name in members}, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if key.Algorithm.check_key_length(key.key) is not None:
        return None
    return VerificationKey(kid, algorithm, key.key)


class KeySet:
    """The keys at an address: fetched when first needed, again when they are old, and when a token names one
    that is not among them.

    However many ask, one fetch is under way at a time. Where it fails, the old keys go on being used.
    Durations are in seconds: keys are old after `lifetime`; an unknown key makes for at most one fetch per
    `cooldown`; after a failure there is a `pause` before the next try, and a fetch is given up after `timeout`.
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
        self._flight: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """The key of this id, or, without an id, the only one for the algorithm. None where there is none.

        Raises Unavailable where the key server does not answer and no key in hand fits.
        """
        if self._is_older_than(self._lifetime):
            await self._fetch()
        key = self._pick(kid, algorithm)
        if key is None and self._is_older_than(self._cooldown):
            await self._fetch()
            key = self._pick(kid, algorithm)
        if key is None and (self._fetched_at is None or self._failed_at is not None):
            raise Unavailable(KEY_SERVER)
        return key

    def _pick(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        fitting = [key for key in self._keys if key.algorithm == algorithm and kid in (None, key.kid)]
        return fitting[0] if len(fitting) == 1 or (fitting and kid is not None) else None

    def _is_older_than(self, seconds: float) -> bool:
        return self._fetched_at is None or self._clock() - self._fetched_at >= seconds

    async def _fetch(self) -> None:
        """Fetch the keys, or wait for the fetch that is under way; never raises for what the server does."""
        if self._failed_at is not None and self._clock() - self._failed_at < self._pause:
            return
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._fly())
        # Shielded: a caller who gives up must not take the others' fetch along.
        await asyncio.shield(self._flight)

    async def _fly(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._client.get(self._url, headers={"accept": "application/json"})
            response.raise_for_status()
            self._keys = read_key_set(response.content)
        except (httpx.HTTPError, TimeoutError, OSError, ValueError) as error:
            self._failed_at = self._clock()
            log.warning("key_set_unavailable", error=f"{type(error).__name__}: {error}", stale=bool(self._keys))
        else:
            self._fetched_at, self._failed_at = self._clock(), None
