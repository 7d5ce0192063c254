"""What single texts mean, for the peers that do the same work: asked in Python, of the few distinct texts that no column expression reads.

Written anew from docs/domain/deliveries.md ("Values"), docs/decisions/0015-values.md, 0016-files.md and docs/domain/isolates.md.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache

from estuaire.contract.codes import SEEDS

# what Unicode says to show nothing for, beside its format characters (Default_Ignorable_Code_Point)
_IGNORED = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
_UNSEEN = re.compile(f"[{_IGNORED}]")
_SPREADSHEET = re.compile(r"\s*([+-]?\d([.,]\d+)?[eE][+-]\d{2,3}|#+|#N/A|#[A-Z0-9/]+[!?])\s*", re.ASCII)
_NOBODY = re.compile(
    r"(PATIENT)?(ANONYM(E|ES|OUS|IS[EÉ])?|INCONNUE?S?|UNKNOWN)(PATIENTE?)?|SANS(IPP|NOM|IDENTIT[EÉ])"
    r"|NON(RENSEIGN|IDENTIFI|CONNU|COMMUNIQU)[EÉ]?E?|N[EÉ]ANT|AUCUN|NULL|NONE|N/A|0+|9{6,}|X{2,}|\?+|-+|\.+"
)
_GAP = r"[\s.\u00a0\u2007\u202f\u200b\u200c\u200d\u2060\ufeff\u2010\u2011\u2013-]{0,2}"
# cheap enough for every long text: fifteen signs of a national number, whatever stands between
LIKE_A_NATIONAL_NUMBER = rf"[1-478](?:{_GAP}[0-9ABab]){{14}}"
_MONTH = "(?:0{g}[1-9]|1{g}[0-2]|2{g}0|3{g}[0-9]|4{g}[0-2]|[5-9]{g}[0-9])"
_SIGNS = ("[1-478]", "[0-9]", "[0-9]", _MONTH, "(?:[0-9]{g}[0-9]|2{g}[ABab])", *["[0-9]"] * 8)
_NATIONAL = re.compile(rf"(?<![0-9])(?=({_GAP.join(s.replace('{g}', _GAP) for s in _SIGNS)})(?![0-9]))")
_NUMBER = re.compile(r"[+-]?[0-9]*(?:[.,][0-9]{0,6}0*)?", re.ASCII)
_POWER = re.compile(r"[+-]?[0-9]{1,8}(?:[.,][0-9]{0,8})?[eE][+-]?[01]?[0-9]", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}([.][0-9]{3})+([eE].*)?", re.ASCII)


def normal(text: str, *, label: bool) -> str:
    """Accents composed, nothing invisible, no white space at the ends; but of labels, one space for each stretch of white space within."""
    shown = "".join(c for c in _UNSEEN.sub("", text) if c in "\t\n\r" or unicodedata.category(c) not in ("Cc", "Cf"))
    composed = unicodedata.normalize("NFC", shown).strip()
    return composed if label else " ".join(composed.split())


def identifier(text: str) -> str:
    """An identifier as it is compared and replaced."""
    return "".join(text.split()).upper()


def is_spoilt(text: str) -> bool:
    """A spreadsheet wrote this in an identifier's place."""
    return _SPREADSHEET.fullmatch(text) is not None


def is_nobody(text: str, others: Collection[str]) -> bool:
    """Written for a patient whom nobody knows."""
    return text in others or _NOBODY.fullmatch(text) is not None


def is_national_number(text: str) -> bool:
    """Fifteen signs of which the last two are the key of the others."""
    digits = text
    for corsica, number in (("2A", "19"), ("2B", "18")):
        if text[5:7] == corsica:
            digits = text[:5] + number + text[7:]
    if not re.fullmatch("[0-9]{15}", digits):
        return False
    return int(digits[13:]) == 97 - int(digits[:13]) % 97


def holds_national_number(text: str) -> bool:
    """A national number with its right key stands somewhere in the text."""
    gap = _GAP.removesuffix("{0,2}")
    return any(is_national_number(re.sub(gap, "", candidate).upper()) for candidate in _NATIONAL.findall(text))


def pseudonym(key: bytes, *parts: str) -> str:
    """The first 128 bits of HMAC-SHA-256, in hex."""
    return hmac.digest(key, "\x1f".join(parts).encode(), hashlib.sha256).hex()[:32]


def number(text: str, *, comma: bool) -> Decimal | None:
    """A number that six decimals hold as it is written; None where it is none, or could be two."""
    if not (_NUMBER.fullmatch(text) or _POWER.fullmatch(text)) or (comma and _THOUSANDS.fullmatch(text)):
        return None
    try:
        value = Decimal(text.replace(",", ".") if comma else text)
    except InvalidOperation:
        return None
    fits = value == value.quantize(Decimal("0.000001")) and abs(value) < 10**12
    return value if fits else None


def whole_number(text: str) -> int | None:
    """Digits with or without a sign, of 64 bits."""
    if not re.fullmatch("[+-]?[0-9]+", text, re.ASCII):
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


def _told(text: str, pattern: str) -> datetime | None:
    try:
        told = datetime.strptime(text, pattern)
    except ValueError:
        return None
    return told if told.year >= 1000 else None


def day(text: str, formats: Sequence[str]) -> date | None:
    """A day in the first format that reads it."""
    told = next((d for f in formats if (d := _told(text, f)) is not None), None)
    return told and told.date()


def time(text: str, formats: Sequence[str]) -> tuple[datetime | None, datetime | None]:
    """The clock's time, or the moment in UTC where an offset is written: one of the two, None where nothing is read."""
    zoned = re.sub(r"([+-][0-9]{2})$", r"\1:00", text)
    for pattern in (f for f in formats if "%z" in f):
        if (told := _told(zoned, pattern)) is not None:
            return None, told.astimezone(UTC) if told.year < 9999 else None
    for pattern in (f for f in formats if "%z" not in f):
        if (told := _told(text, pattern)) is not None:
            return told, None
    return None, None


def _words(text: str) -> tuple[str, ...]:
    bare = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return tuple(re.findall("[a-z0-9]+", bare))


@cache
def _antibacterials() -> frozenset[tuple[str, ...]]:
    with (SEEDS / "antimicrobial.csv").open(encoding="utf-8", newline="") as rows:
        names = {_words(row[column]) for row in csv.DictReader(rows) for column in ("name_en", "name_fr")}
    return frozenset(name for name in names if len("".join(name)) >= 4)


def names_antibacterial(*texts: str) -> bool:
    """One of the texts holds the name of an antibacterial, whole."""
    longest = max(map(len, _antibacterials()))
    for words in map(_words, texts):
        starts = range(len(words))
        if any(words[i : i + n] in _antibacterials() for i in starts for n in range(1, longest + 1)):
            return True
    return False
