"""The languages in which recipients read texts of this service: the public pages, and the footer of a message."""

from __future__ import annotations

from enum import StrEnum


class Language(StrEnum):
    """A language, by its code of ISO 639-1."""

    EN = "en"
    DE = "de"
    FR = "fr"
    ES = "es"
