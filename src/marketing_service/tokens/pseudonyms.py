"""Pseudonyms for logs: the same caller has the same pseudonym, and a reader of the logs cannot tell who it is."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from marketing_service.tokens.keyring import mac

if TYPE_CHECKING:
    from collections.abc import Sequence

_BYTES = 8


class Pseudonyms:
    """Keyed: a plain hash of a name that can be guessed, such as an email address, can be reversed by guessing.

    The key is the first key of the tokens, so every process gives the same pseudonyms, and a new first key changes
    all of them.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._key = hmac.new(hmac.digest(keys[0], b"marketing-log", "sha256"), digestmod="sha256")

    def of(self, kind: str, name: str) -> str:
        """16 hexadecimal digits. The same name has different ones for different kinds."""
        return mac(self._key, f"{kind}:{name}".encode(), _BYTES).hex()
