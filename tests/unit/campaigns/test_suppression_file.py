"""Files with addresses, as spreadsheets and people write them: what is taken, and what is reported line by line."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

import pytest

from marketing_service.campaigns import csv_rows
from marketing_service.campaigns.csv_columns import ADDRESS, NOTE
from marketing_service.campaigns.suppression_file import (
    MAX_COLUMNS,
    MAX_IN_ROW,
    MAX_NOTE,
    MAX_REJECTED,
    MAX_ROWS,
    MAX_VALUE,
    STEP,
    Reason,
    SuppressionFile,
    read_suppressions,
)
from marketing_service.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"
NO, INVALID, MANY = Reason.NO_ADDRESS, Reason.INVALID_ADDRESS, Reason.TOO_MANY_ADDRESSES


def taken(file: SuppressionFile) -> dict[str, str | None]:
    return {entry.address: entry.note for step in file.steps for entry in step.entries}


def rejected(file: SuppressionFile) -> list[tuple[int, str, Reason]]:
    return [(row.line, row.value, row.reason) for row in file.rejected]


def refusal(file: bytes) -> tuple[str, str]:
    """The code and the message of the error."""
    with pytest.raises(InvalidInput) as raised:
        read_suppressions(file)
    (error,) = raised.value.errors
    assert error.field == "body"
    return error.code, error.message


# What Excel, LibreOffice, Numbers and Google Sheets write, and what people make of it.
FILES: Mapping[str, tuple[bytes, dict[str, str | None]]] = {
    "RFC 4180": (b"email,note\r\nann@example.com,by phone\r\nbob@example.com,\r\n", {ANN: "by phone", BOB: None}),
    "semicolons": (b"email;note\r\nann@example.com;by phone, twice\r\n", {ANN: "by phone, twice"}),
    "tabs": (b"email\tnote\nann@example.com\tby phone; twice\n", {ANN: "by phone; twice"}),
    "vertical bars": (b"email|note\nann@example.com|by phone\n", {ANN: "by phone"}),
    "UTF-8 with a mark": ("\ufeffemail,note\nann@example.com,für Jörg\n".encode(), {ANN: "für Jörg"}),
    "UTF-16 LE with a mark": (
        codecs.BOM_UTF16_LE + "E-Mail\tNotiz\r\nann@example.com\tfür Jörg €\r\n".encode("utf-16-le"),
        {ANN: "für Jörg €"},
    ),
    "UTF-16 BE with a mark": (
        codecs.BOM_UTF16_BE + "E-Mail\tNotiz\r\nann@example.com\tfür Jörg 😀\r\n".encode("utf-16-be"),
        {ANN: "für Jörg 😀"},
    ),
    "UTF-16 LE without a mark": ("email;note\nann@example.com;été\n".encode("utf-16-le"), {ANN: "été"}),
    "UTF-16 BE without a mark": ("email;note\nann@example.com;été\n".encode("utf-16-be"), {ANN: "été"}),
    "UTF-16 LE without a mark, with a note in Greek": (
        "email;note\nann@example.com;τηλεφωνικά\n".encode("utf-16-le"),
        {ANN: "τηλεφωνικά"},
    ),
    "Windows-1252": (
        "email;note\nann@example.com;für Jörg \u2013 5 €\n".encode("cp1252"),
        {ANN: "für Jörg \u2013 5 €"},
    ),
    "UTF-8 and Windows-1252 in one file": (
        "email;note\nann@example.com;für\n".encode() + "bob@example.com;für\n".encode("cp1252"),
        {ANN: "für", BOB: "für"},
    ),
    "an octet without a meaning": (b"email;note\nann@example.com;a\x81b\n", {ANN: "a\ufffdb"}),
    "sep=; before the header": (b"sep=;\r\nemail;note\r\nann@example.com;a,b,c\r\n", {ANN: "a,b,c"}),
    "SEP= with quotes, and cells behind it": (b'"SEP=,",,\r\nemail,note\r\nann@example.com,x;y\r\n', {ANN: "x;y"}),
    "sep= a tab": (b"sep=\t\r\nemail\tnote\r\nann@example.com\tx;y,z\r\n", {ANN: "x;y,z"}),
    "sep=; in UTF-16": (b"\xff\xfe" + "sep=;\r\nann@example.com;x\r\n".encode("utf-16-le"), {ANN: None}),
    "CR only": (b"email,note\rann@example.com,x\rbob@example.com,y\r", {ANN: "x", BOB: "y"}),
    "no line end at the end": (b"email,note\nann@example.com,x\nbob@example.com,y", {ANN: "x", BOB: "y"}),
    "mixed line ends": (b"email\r\nann@example.com\rbob@example.com\neve@example.com", dict.fromkeys([ANN, BOB, EVE])),
    "blank lines": (b"\n\r\n \nemail,note\n\n,,\nann@example.com,x\n,\n", {ANN: "x"}),
    "blank cells in a file of one column": (
        b"email\nann@example.com\n;;;;\n,,,\n\t\t\nbob@example.com\n",
        {ANN: None, BOB: None},
    ),
    "a delimiter at the end of each line": (b"email;note;\nann@example.com;x;\n", {ANN: "x"}),
    "a delimiter at the end, one column": (b"email\nann@example.com;\nbob@example.com,\n", {ANN: None, BOB: None}),
    "a delimiter at the end, no header": (b"ann@example.com;\nbob@example.com;\n", {ANN: None, BOB: None}),
    "quoted cells": (
        b'"email","note"\r\n"ann@example.com","she said ""stop"", twice"\r\n',
        {ANN: 'she said "stop", twice'},
    ),
    "a line end in a cell": (
        b'email,note\r\nann@example.com,"one\r\ntwo"\r\nbob@example.com,x\r\n',
        {ANN: "one two", BOB: "x"},
    ),
    "a line end in the header": (b'"E-Mail-\nAdresse";"Notiz"\nann@example.com;x\n', {ANN: "x"}),
    "other columns around": (b"id,name,email,city,note\n1,Ann,ann@example.com,Bonn,x\n", {ANN: "x"}),
    "a short row": (b"name,email,note\nAnn,ann@example.com\n", {ANN: None}),
    "a long row": (b"email,note\nann@example.com,x,y,z\n", {ANN: "x"}),
    "no header, one column": (b"ann@example.com\nbob@example.com\n", {ANN: None, BOB: None}),
    "no header, semicolons": (b"Ann;ann@example.com;x\nBob;bob@example.com;y\n", {ANN: None, BOB: None}),
    "no header, a comma in another cell": (
        b"ann@example.com;said stop, twice\nbob@example.com;x\n",
        {ANN: None, BOB: None},
    ),
    "no header, a name with a comma": (
        b'"Doe, Ann",ann@example.com\n"Roe, Bob",bob@example.com\n',
        {ANN: None, BOB: None},
    ),
    "no header, only addresses in each row": (
        b"ann@example.com; bob@example.com\neve@example.com; fay@example.com; gus@example.com\n",
        dict.fromkeys([ANN, BOB, EVE, "fay@example.com", "gus@example.com"]),
    ),
    "a header alone": (b"email,note\n", {}),
    "an email address and a postal address": (b"Address;E-Mail\nMain Street 5;ann@example.com\n", {ANN: None}),
    "a note and a reason": (b"reason;email;note\nMANUAL;ann@example.com;x\n", {ANN: "x"}),
    "two columns of email addresses": (
        b"E-mail 1 - Value,E-mail 2 - Value\nann@example.com,bob@example.com\neve@example.com,\n",
        dict.fromkeys([ANN, BOB, EVE]),
    ),
    "white space, and white space without width": (
        "email\n \u00a0ann@example.com\u00a0\t\n\u200bbob@example.com\ufeff\n\u202aeve@example.com\u202c\n".encode(),
        dict.fromkeys([ANN, BOB, EVE]),
    ),
    "names and addresses in brackets": (
        b'email\nAnn Doe <ann@example.com>\n"""Roe, Bob"" <bob@example.com>"\n<eve@example.com>\n',
        dict.fromkeys([ANN, BOB, EVE]),
    ),
    "a quoted name that is not quoted as CSV": (b'email,note\n"Ann" <ann@example.com>,x\n', {ANN: "x"}),
    "a name that is an address": (b"email\nann@example.com <ann@example.com>\n", {ANN: None}),
    "links": (b"email\nmailto:ann@example.com\nMailto:bob@example.com?subject=Stop%20it\n", {ANN: None, BOB: None}),
    "apostrophes and typographic quotes": (
        "email\n'ann@example.com'\n\u201ebob@example.com\u201c\no'neil@example.com\n".encode(),
        dict.fromkeys([ANN, BOB, "o'neil@example.com"]),
    ),
    "the full stop of a sentence": (b"email\nann@example.com.\n", {ANN: None}),
    "several addresses in a cell": (
        b'email,note\n"ann@example.com; bob@example.com",x\n"eve@example.com\nfay@example.com gus@example.com",y\n',
        {ANN: "x", BOB: "x", EVE: "y", "fay@example.com": "y", "gus@example.com": "y"},
    ),
    "several names in a cell": (b'email\n"Ann <ann@example.com>, Bob <bob@example.com>"\n', {ANN: None, BOB: None}),
    "capitals": (b"EMAIL\nAnn@Example.COM\n", {ANN: None}),
    "the first note of an address": (b"email,note\nann@example.com,first\nANN@example.com,second\n", {ANN: "first"}),
    "our own export": (b'"email","note"\r\n"\'=x@example.com","\'=1+1, \'@x"\r\n', {"=x@example.com": "=1+1, @x"}),
    "control characters in a note": (b"email,note\nann@example.com,a\x00\x07b\n", {ANN: "a b"}),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_taken(name: str) -> None:
    octets, wanted = FILES[name]
    file = read_suppressions(octets)
    assert rejected(file) == []
    assert taken(file) == wanted
    assert sum(step.rows for step in file.steps) == file.rows


HEADERS = (
    "email, EMAIL, E-Mail, e_mail, E-mail:, *Email*, Emails, Email-Address, email_address, Email Address, Mail",
    "e-mail address, E-mail 2 Address, Address, Recipient, Email\u00a0Address, \u200bEmail",
    "E-Mail-Adresse, E-Mailadresse, Mail-Adresse, E-Mail (privat), E Mail, Adresse, Empfänger, Empfaenger",
    "Courriel, Mél, Adresse e-mail, Adresse électronique, Adresse de courriel, Destinataire",
    "Correo, Correo electrónico, Dirección de correo electrónico, Dirección, Destinatario",
)
NOTES = ("note, Notes, COMMENT, Reason, Bemerkung, Notiz, Grund, Commentaire, Motif, Razón, Observación",)


def names(lines: Sequence[str]) -> list[str]:
    return [name for line in lines for name in line.split(", ")]


@pytest.mark.parametrize("header", names(HEADERS))
def test_a_column_of_addresses_has_many_names(header: str) -> None:
    assert taken(read_suppressions(f"Name;{header};x\nAnn;{ANN};y\n".encode())) == {ANN: None}
    assert taken(read_suppressions(f"{header}\n{ANN}\n".encode())) == {ANN: None}


@pytest.mark.parametrize("header", names(NOTES))
def test_a_column_of_notes_has_many_names(header: str) -> None:
    assert taken(read_suppressions(f"E-Mail;{header}\n{ANN};x\n".encode())) == {ANN: "x"}


def test_the_names_of_columns_are_written_as_they_are_compared() -> None:
    for name in (name for names in (*ADDRESS, *NOTE) for name in names):
        assert (name.isascii(), name.islower(), name.isalpha()) == (True, True, True), name


ROWS: Mapping[str, tuple[bytes, list[tuple[int, str, Reason]]]] = {
    "no address": (b"nobody\n", [(2, "nobody", NO)]),
    "not valid": (b"ann@localhost\n", [(2, "ann@localhost", INVALID)]),
    "two signs": (b"ann@bob@example.com\n", [(2, "ann@bob@example.com", INVALID)]),
    "a blank in an address": (b"ann doe@example.com\n", [(2, "ann doe@example.com", INVALID)]),
    "a comma in place of a dot": (b'"ann,doe@example.com"\n', [(2, "ann,doe@example.com", INVALID)]),
    "words around it": (b"old: ann@example.com\n", [(2, "old: ann@example.com", INVALID)]),
    "one of several": (b'"ann@example.com; bob@"\n', [(2, "ann@example.com; bob@", INVALID)]),
    "one of several in brackets": (
        b"Ann <ann@example.com> Bob <bob>\n",
        [(2, "Ann <ann@example.com> Bob <bob>", INVALID)],
    ),
    "nothing in brackets": (b"Ann <>\n", [(2, "Ann <>", NO)]),
    "an address that is a parameter": (
        b"mailto:ann@example.com?cc=bob@example.com\n",
        [(2, "mailto:ann@example.com?cc=bob@example.com", INVALID)],
    ),
    "a typographic apostrophe": ("o\u2019neil@example.com\n".encode(), [(2, "o\u2019neil@example.com", INVALID)]),
    "an octet that no address has": (b"\xff\x81nn@example.com\n", [(2, "\u00ff\ufffdnn@example.com", INVALID)]),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_without_a_valid_address_is_reported(name: str) -> None:
    octets, wanted = ROWS[name]
    file = read_suppressions(b"email\n" + octets + b"eve@example.com\n")
    assert rejected(file) == wanted
    assert (file.rows, file.rejected_rows, taken(file)) == (2, 1, {EVE: None})


def test_lines_are_numbered_as_in_the_file() -> None:
    file = read_suppressions(
        b"sep=;\r\n"
        b"\r\n"
        b"name;email;note\r\n"
        b'Ann;ann@example.com;"two\r\nlines"\r\n'
        b"\r\n"
        b"Bob;nobody;x\r\n"
        b';;"a note\r\nalone"\r\n'
        b"Eve\r\n"
    )
    assert rejected(file) == [(7, "nobody", NO), (8, "", NO), (10, "", NO)]
    assert (file.rows, file.rejected_rows, file.repeated, taken(file)) == (4, 3, 0, {ANN: "two lines"})


def test_values_and_notes_are_cut_and_in_one_line() -> None:
    long = "x" * (MAX_VALUE + 1)
    file = read_suppressions(f'email,note\n"a\nb",\n{long},\n{ANN},{"y" * (MAX_NOTE + 1)}\n'.encode())
    assert [value for _, value, _ in rejected(file)] == ["a b", "x" * MAX_VALUE]
    assert taken(file) == {ANN: "y" * MAX_NOTE}


def test_the_listed_rows_are_limited_and_all_are_counted() -> None:
    file = read_suppressions(b"email\n" + b"nobody\n" * (MAX_REJECTED + 5))
    assert (len(file.rejected), file.rejected_rows) == (MAX_REJECTED, MAX_REJECTED + 5)


def test_a_row_has_at_most_a_hundred_addresses() -> None:
    people = [f"p{number}@example.com" for number in range(MAX_IN_ROW + 1)]
    file = read_suppressions(f'email\n"{" ".join(people[1:])}"\n"{" ".join(people)}"\n'.encode())
    assert len(taken(file)) == MAX_IN_ROW
    assert [(line, reason) for line, _, reason in rejected(file)] == [(3, MANY)]


def test_addresses_are_in_steps_with_the_rows_that_are_done_with_them() -> None:
    rows = [f"p{number}@example.com" for number in range(2 * STEP + 10)]
    rows[5:5] = ["nobody", "p0@example.com", "nobody", "p1@example.com"]
    file = read_suppressions("\n".join(["email", *rows, "nobody"]).encode())
    assert [(len(step.entries), step.rows) for step in file.steps] == [(STEP, STEP + 4), (STEP, STEP), (10, 11)]
    assert (file.rows, file.rejected_rows, file.repeated) == (2 * STEP + 15, 3, 2)


REFUSED: Mapping[str, tuple[bytes, str]] = {
    "empty": (b"", "`email`"),
    "blank": (b"\n \r\n,,\n", "`email`"),
    "no column of addresses": (b"name;city\nAnn;Bonn\n", "`email`"),
    "an invalid address and no header": (b"ann@localhost\nbob@example.com\n", "`email`"),
    "no header and two columns of addresses": (b"Ann;ann@example.com;boss@example.com\n", "columns 2 and 3"),
    "an open quote at the end": (b'email\nann@example.com\n"bob@example.com\n', "line 3: it has a quote"),
    "an open quote, and another one later": (
        b'email,note\nann@example.com,"x\nbob@example.com,"y"\neve@example.com,z\n',
        "line 2: it has a quote",
    ),
    "an open quote in the header": (b'"email\nann@example.com\n', "line 1: it has a quote"),
    "a cell without an end": (b'email\n"' + b"x\n" * 100_000, "line 2: it has a quote"),
    "a line without an end": (b"email\n" + b"x," * 600_000, "line 2: the row is longer than 1,000,000 characters"),
    "a row without an end": (b"email\n" + b'"x\n",' * 300_000, "line 2: "),
    "a header without an end": (b"email," * (MAX_COLUMNS + 1), "more than 16,384 cells"),
    "UTF-16 that is cut off": (
        b"\xff\xfe" + "email\nann@example.com\nb".encode("utf-16-le")[:-1],
        "line 3: the text is",
    ),
    "a workbook": (b"PK\x03\x04\x14\x00\x06\x00", "Save the sheet as CSV"),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Save the sheet as CSV"),
    "a document": (b"%PDF-1.7\n", "PDF"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_list_is_refused(name: str) -> None:
    octets, words = REFUSED[name]
    code, message = refusal(octets)
    assert code == "csv"
    assert words in message


# The next three read up to a million rows: with coverage, ten seconds each.
@pytest.mark.no_cover
def test_a_file_has_a_limit_of_lines() -> None:
    code, message = refusal(b"email\n" + b"\n" * csv_rows.MAX_LINES)
    assert code == "csv"
    assert "line 1048577: the file has more than" in message


@pytest.mark.no_cover
def test_a_file_has_a_limit_of_rows() -> None:
    assert refusal(b"email\n" + b"x\n" * (MAX_ROWS + 1)) == (
        "too-many-rows",
        "has more than 250,000 rows (line 250002 is one too many). Split it into several files.",
    )


@pytest.mark.no_cover
def test_a_file_has_a_limit_of_addresses() -> None:
    rows = (" ".join(f"a{row}b{number}@x.example" for number in range(MAX_IN_ROW)) for row in range(2_501))
    assert refusal("\n".join(["email", *rows]).encode()) == (
        "too-many-rows",
        "has more than 250,000 different addresses. Split it into several files.",
    )
