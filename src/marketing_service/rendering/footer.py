"""The footer that the service appends to a body: the unsubscribe link, and the postal address of the sender."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import escape

from marketing_service.languages import Language

if TYPE_CHECKING:
    from collections.abc import Mapping

_OTHERS = "*"

_UNSUBSCRIBE = {
    Language.EN: "Unsubscribe",
    Language.DE: "Abmelden",
    Language.FR: "Se désabonner",
    Language.ES: "Darse de baja",
}
# French has a no-break space before a colon.
_COLON = {Language.FR: "\u00a0: "}

# The message may be light or dark, so the footer has a background of its own. The contrast is 12.6 to 1.
_COLOR, _BACKGROUND = "#333333", "#ffffff"
_STYLE = (
    f"margin: 32px 0 16px; padding: 8px; background-color: {_BACKGROUND}; color: {_COLOR}; "
    "font: 12px/1.5 Arial, Helvetica, sans-serif; text-align: center"
)


@dataclass(frozen=True, slots=True)
class PostalAddresses:
    """The postal address of each organisation, which may have several lines. `*` is for all others; an empty text is no
    address."""

    by_organisation: Mapping[str, str] = field(default_factory=dict)

    def of(self, org_id: str) -> str | None:
        """The address of the organisation, if it has one."""
        return self.by_organisation.get(org_id, self.by_organisation.get(_OTHERS)) or None


NO_POSTAL_ADDRESSES = PostalAddresses()


class Footer(NamedTuple):
    """What stands before and after the address of the unsubscribe link, in each of the bodies."""

    html: tuple[str, str]
    text: tuple[str, str]


def footer(language: Language, postal_address: str | None) -> Footer:
    """The footer in this language. The postal address stands below the link."""
    word = _UNSUBSCRIBE[language]
    lines = postal_address.split("\n") if postal_address else []
    before = f'\n<div style="{_STYLE}" lang="{language}">\n<a href="'
    after = f'" style="color: {_COLOR}; text-decoration: underline">{escape(word)}</a>'
    return Footer(
        html=(before, "<br>\n".join([after, *map(escape, lines)]) + "\n</div>\n"),
        # RFC 3676 §4.3: "-- " starts a signature.
        text=(f"\n\n-- \n{word}{_COLON.get(language, ': ')}", "".join(f"\n{line}" for line in lines)),
    )
