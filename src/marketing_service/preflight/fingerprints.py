"""A compact set that tells whether a text was added before, for millions of texts."""

from __future__ import annotations

from array import array

_OCTETS = 8
_MIN_PLACES = 1 << 10
_64_BITS = (1 << 64) - 1


class FingerprintSet:
    """A set that stores a 64-bit fingerprint of each text. It takes 16 to 32 octets per text: 17 MB for a million.

    Among a million texts, the probability that any two have the same fingerprint is one in 37 million. That is good
    enough for counting, but not for a decision whether a contact gets mail.
    """

    def __init__(self) -> None:
        self._places = _empty(_MIN_PLACES)
        self._taken = 0

    def add(self, text: str) -> bool:
        """Add the text. True if it is new."""
        if self._taken * 2 >= len(self._places):
            self._grow()
        # Python's hash (SipHash, with a random key per process) has 64 bits. 0 marks a free place.
        new = _put(self._places, hash(text) & _64_BITS or 1)
        self._taken += new
        return new

    def _grow(self) -> None:
        places = _empty(len(self._places) * 2)
        for kept in self._places:
            if kept:
                _put(places, kept)
        self._places = places


def _empty(places: int) -> array[int]:
    return array("Q", bytes(places * _OCTETS))


def _put(places: array[int], value: int) -> bool:
    last = len(places) - 1  # a bit mask, because the length is a power of two
    place = value & last
    while kept := places[place]:
        if kept == value:
            return False
        place = (place + 1) & last
    places[place] = value
    return True
