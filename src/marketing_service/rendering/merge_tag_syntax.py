"""What the merge tags of other mailing systems look like.

Some delimiters occur only around merge tags: `*|…|*` is reported whatever is inside. Others also occur in ordinary
text: `[…]` is reported only if all words inside are names of fields, such as `[First Name]`. The table of the tests
(`merge_tags.toml`) has tags of many systems with their sources, and texts that must not be reported.

All patterns are linear: what a delimiter encloses cannot contain the delimiter.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class _Syntax(NamedTuple):
    """One form of merge tags. `system`: who uses it; empty if many do. `certain`: nothing else looks like this.
    `in_addresses`: it is also reported in the address of a link or an image."""

    pattern: str
    system: str = ""
    certain: bool = True
    in_addresses: bool = True


_LETTER = r"[^\W\d]"
_NAME = rf"{_LETTER}[\w.:-]*+"
_WORDS = rf"{_LETTER}[\w.:-]*+(?: [\w.:-]++)*+"

_FORMS: dict[str, _Syntax] = {
    "mailchimp": _Syntax(r"\*\|[^|*\n]++(?:\|[^|*\n]++)?+\|\*", "Mailchimp"),
    "ampscript": _Syntax(r"%%(?:=[^%\n]++(?<==)|\[[^%\n]*+(?<=\]))%%", "Salesforce Marketing Cloud"),
    "two_percents": _Syntax(rf"%%!?+{_WORDS}%%", "Salesforce Marketing Cloud"),
    "mailgun": _Syntax(rf"%(?:recipient|mailing_list|tag)(?:\.{_NAME}|_{_NAME})%", "Mailgun"),
    # After a digit it is a percentage. Before two hexadecimal digits the second sign starts an encoded character.
    "percents": _Syntax(rf"(?<![%\d])(?:%{_LETTER}[\w.:|-]*+%)++(?!%|[0-9A-Fa-f]{{2}})"),
    "percents_and_blanks": _Syntax(rf"(?<![%\d])%{_LETTER}[\w.:-]*+(?: [\w.:-]++)++%(?![%\d])", certain=False),
    "script": _Syntax(r"<%[^%\n]++%>"),
    "bracket_percent": _Syntax(r"\[%[^%\n\]]++%\]"),
    "zoho": _Syntax(rf"\$\[{_LETTER}[^\[\]\n]*+\]\$", "Zoho Campaigns"),
    "mailjet": _Syntax(r"\[\[ ?+(?:data|var):[^\[\]\n]++\]\]", "Mailjet"),
    "two_brackets": _Syntax(rf"(?<!\w)\[\[ ?+{_LETTER}[^\[\]\n]*+\]\](?!\()"),
    "three_braces": _Syntax(r"\{\{\{[^{}\n]*+\}\}\}", "Salesforce or Handlebars"),
    "two_braces": _Syntax(r"\{\{[^{}\n]*+\}\}"),
    "smarty": _Syntax(rf"\{{\${_LETTER}[^{{}}\n]*+\}}", "MailerLite or MailerSend"),
    "salesforce": _Syntax(rf"\{{!{_LETTER}[^{{}}\n]*+\}}", "Salesforce or AWeber"),
    "dollar_brace": _Syntax(rf"\$\{{{_LETTER}[^{{}}\n]*+\}}"),
    "hash_brace": _Syntax(rf"#\{{{_LETTER}[\w.()\[\]'\"]*+\}}"),
    "mautic": _Syntax(r"\{(?:contact|owner|company)field=[^{}\n]++\}", "Mautic"),
    "civicrm": _Syntax(r"\{(?:contact|domain|mailing|action)\.\w++\}", "CiviCRM"),
    "two_dollars": _Syntax(rf"(?<!\$)\$\${_NAME}\$\$(?!\$)", "BACKCLICK"),
    "two_ats": _Syntax(rf"(?<!@)@@{_NAME}@@(?!@)"),
    "two_hashes": _Syntax(rf"(?<!#)##{_NAME}##(?!#)", certain=False),
    "two_angles": _Syntax(rf"<<{_WORDS}>>", certain=False),
    # After "]" or before "(", "[" or ":" it is a link of Markdown, after a word an index.
    "bracket": _Syntax(r"(?<![\w\])!\\$])\[!?+[^\W\d][^\[\]\n]*+\](?![\[(:\w$])", certain=False),
    "brace": _Syntax(rf"(?<![\w\])$#@%\\{{!]){{{_WORDS}(?:\|[^{{}}\n]*+)?+}}(?!\s*+(?:=|from\b))", certain=False),
    "pipe": _Syntax(rf"(?<![\w|*])\|{_NAME}\|(?![\w|*])", certain=False, in_addresses=False),
    "hyphen": _Syntax(rf"(?<![\w/-])--?{_LETTER}\w*+--?(?![\w/-])", "SendGrid", certain=False),
    "at": _Syntax(rf"(?<![\w@.])@{_LETTER}\w*+@(?![\w@])", "Dotdigital", certain=False),
    "dollar": _Syntax(rf"(?<![\w$])\${_LETTER}[\w -]*+\$(?![\w$])", "Oracle Responsys", certain=False),
    "hash": _Syntax(rf"(?<![\w#&])#{_LETTER}[\w-]*+#(?![\w#])", "Flexmail", certain=False),
    "tilde": _Syntax(rf"(?<![\w~])~~?{_LETTER}[\w.]*+~~?(?![\w~])", certain=False),
    "guillemet": _Syntax(rf"«{_WORDS}»", certain=False, in_addresses=False),
    "angle": _Syntax(rf"<{_WORDS}>", certain=False, in_addresses=False),
}


class Tag(NamedTuple):
    """A merge tag: its text, where it starts, and the system that it belongs to, or an empty text."""

    start: int
    text: str
    system: str


_MAX_TAG = 200
"""Characters. What is longer is a paragraph between two signs, and no tag."""
_ANY = re.compile(
    r"(?=[*\[%<{$#@~«|-])(?:" + "|".join(f"(?P<{name}>{form.pattern})" for name, form in _FORMS.items()) + ")",
    re.IGNORECASE,
)


def tags_in_text(text: str) -> list[Tag]:
    """The merge tags in a text, in order."""
    return [tag for form, tag in _found(text) if form != "pipe" or not _is_in_table(text, tag)]


def tags_in_address(address: str) -> list[Tag]:
    """The merge tags in an address, in order."""
    return [tag for form, tag in _found(address) if _FORMS[form].in_addresses]


def _found(text: str) -> list[tuple[str, Tag]]:
    found = []
    for match in _ANY.finditer(text):
        name = match.lastgroup or ""
        form = _FORMS[name]
        if len(match[0]) > _MAX_TAG or _is_environment_variable(text, match):
            continue
        field = None if form.certain else names_field(match[0])
        if form.certain or (field is not None and (name != "angle" or " " in field)):
            found.append((name, Tag(match.start(), match[0], form.system)))
    return found


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ENVIRONMENT = _words(
    """
    appdata localappdata programdata programfiles commonprogramfiles temp tmp path pathext userprofile homepath
    homedrive windir systemroot systemdrive comspec public allusersprofile computername errorlevel cd
    """
)


def _is_environment_variable(text: str, match: re.Match[str]) -> bool:
    """Whether it is a variable of Windows, as in `%APPDATA%`, or a pattern of SQL, as in `LIKE '%x%'`."""
    if not match[0].startswith("%"):
        return False
    return (
        match[0].strip("%").lower() in _ENVIRONMENT
        or text.startswith("\\", match.end())
        or text[max(0, match.start() - 6) : match.start()].lower() in {"like '", 'like "'}
    )


def _is_in_table(text: str, tag: Tag) -> bool:
    """Whether the line has more "|" than those of the tag, as a row of a table has."""
    start = text.rfind("\n", max(0, tag.start - _MAX_TAG), tag.start) + 1
    end = text.find("\n", tag.start, tag.start + _MAX_TAG)
    line = text[start or max(0, tag.start - _MAX_TAG) : end if end >= 0 else tag.start + _MAX_TAG]
    return line.count("|") > tag.text.count("|")


# ── names of fields ──────────────────────────────────────────────────────────────────────────────────

_FIELDS = _words(
    """
    name names firstname lastname fullname fname lname surname forename givenname familyname middlename
    nickname username displayname salutation greeting email emailaddress emailaddr company companyname
    organisation organization birthday birthdate dateofbirth dob jobtitle zipcode postcode unsubscribe
    unsubscribeurl unsubscribelink unsub unsuburl optout optouturl preferences preferencesurl webversion
    webversionurl viewinbrowser confirmationurl subscribeurl forwardurl vorname nachname anrede firma voornaam
    achternaam naam prenom prénom nombre apellido apellidos nome cognome имя фамилия
    """
)
"""Words that are the name of a field alone, in any case."""
_FIELDS_IN_CAPITALS = _words(
    """
    first last city state zip country address phone telephone title forward footer webpage nom
    """
)
"""Words that are the name of a field alone if they are written in capitals, as in `[FIRST]`."""
_WORDS_OF_FIELDS = _FIELDS | _words(
    """
    first last full middle given family city state zip country street address addressline line phone telephone
    mobile cell title job contact contacts contactid subscriber recipient customer customerid user member lead
    person profile account your opt out update web version view browser url link id uid key number code no
    field value sender owner agent list campaign date of birth e mail postal
    """
)
"""Words that occur in the name of a field beside others."""
_NAMES_A_FIELD = _FIELDS | _words(
    """
    phone telephone address city zip id uid mail
    """
)
"""Of several words, one must be of these: "your account" is a part of a sentence, "account id" is a field."""
_DEFAULT = re.compile(r"[,|?=]|%%|:filter\b")
_SEPARATORS = re.compile(r"[\W_]+|(?<=[a-zß-ÿ])(?=[A-Z])")


def names_field(tag: str) -> str | None:
    """The words of the field that the tag names, in lower case with blanks between them; None if it names none."""
    inside = tag.strip("*[]{}|-@$#~«»<>%! ")
    head = _DEFAULT.split(inside)[0]
    written = [word.rstrip("0123456789") for word in _SEPARATORS.split(head)]
    words = [word.lower() for word in written if word]
    if not words or not all(word in _WORDS_OF_FIELDS or word in _FIELDS_IN_CAPITALS for word in words):
        return None
    if len(words) == 1:
        is_field = words[0] in _FIELDS or (words[0] in _FIELDS_IN_CAPITALS and head.strip(" !").isupper())
    else:
        is_field = not _NAMES_A_FIELD.isdisjoint(words)
    return " ".join(words) if is_field else None
