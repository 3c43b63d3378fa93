"""The names of columns in a CSV file with addresses, in English, German, French and Spanish."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_NAME = 100
_IN_PARENTHESES = re.compile(r"\([^()]*+\)")


def _names(*texts: str) -> frozenset[str]:
    return frozenset(name for text in texts for name in text.split())


# As `_letters` leaves them. A name of an earlier set goes before one of a later set: a file may have an email address
# and a postal address, or a note and a reason.
ADDRESS = (
    _names(
        "email emails mail mails emailaddress emailaddresses emailadress emailvalue mailaddress",
        "emailadresse emailadressen mailadresse mailadressen",
        "adresseemail adressesemail adressemail adressedemail adressemel mel adresseelectronique courriel courriels",
        "courrierelectronique adressecourriel adressedecourriel adressedemessagerie",
        "correo correos correoelectronico correoselectronicos direccionemail direcciondeemail direcciondecorreo",
        "direccioncorreo direccioncorreoelectronico direcciondecorreoelectronico direccionelectronica",
    ),
    _names(
        "address addresses recipient recipients",
        "adresse adressen empfanger empfaenger",
        "adresses destinataire destinataires",
        "direccion direcciones destinatario destinatarios",
    ),
)
NOTE = (
    _names(
        "note notes comment comments remark remarks",
        "bemerkung bemerkungen notiz notizen kommentar kommentare anmerkung anmerkungen",
        "commentaire commentaires remarque remarques",
        "nota notas comentario comentarios observacion observaciones",
    ),
    _names("reason reasons", "grund grunde", "motif motifs raison", "motivo motivos razon"),
)


def columns_named(known: Sequence[frozenset[str]], cells: Sequence[str]) -> tuple[int, ...]:
    """The numbers of the columns with a name of the first set that any of them has. Empty: there is none."""
    names = [_letters(cell) for cell in cells]
    for names_of_set in known:
        found = tuple(number for number, name in enumerate(names) if name in names_of_set)
        if found:
            return found
    return ()


def is_column_name(cell: str) -> bool:
    """Whether the cell names a column with addresses or with notes."""
    name = _letters(cell)
    return any(name in names for names in (*ADDRESS, *NOTE))


def _letters(cell: str) -> str:
    """The ASCII letters in lower case, without accents and without what is in parentheses: `E-Mail (privat)` is
    `email`, `Correo electrónico` is `correoelectronico`. Empty for a text that is too long to be a name."""
    if len(cell) > _MAX_NAME:
        return ""
    plain = unicodedata.normalize("NFKD", _IN_PARENTHESES.sub("", cell)).casefold()
    return "".join(letter for letter in plain if letter.isascii() and letter.isalpha())
