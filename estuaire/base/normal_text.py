"""The one normal form of delivered texts, which the kernel writes and by which codes and identifiers are compared.

Python alone computes it: two engines do not agree on upper case (``ß``, ``ı``, ``ŉ``), on what is white space or on what is composed. SQL
compares only texts that this module made, or looks them up in a table of them.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_BREAKS = "\t\n\r"  # white space that a label may hold within
# marks that show nothing and are of no format category (Unicode's Default_Ignorable_Code_Point)
_IGNORABLE = {
    0x034F,
    *range(0x115F, 0x1161),
    *range(0x17B4, 0x17B6),
    *range(0x180B, 0x1810),
    0x3164,
    *range(0xFE00, 0xFE10),
    0xFFA0,
    *range(0xE0100, 0xE01F0),
}


class _Shown(dict[int, int | None]):
    """Code point -> itself, or None where it is no part of any value: byte order mark, zero-width and directional marks, soft hyphen, control
    characters. Asked of Unicode's tables when it is first met."""

    def __missing__(self, point: int) -> int | None:
        character = chr(point)
        dropped = unicodedata.category(character) in ("Cc", "Cf") and character not in _BREAKS
        self[point] = None if dropped or point in _IGNORABLE else point
        return self[point]


_SHOWN = _Shown()


@lru_cache(maxsize=1 << 16)
def plain(text: str) -> str:
    """A delivered text without what nobody sees: accents composed (NFC), no invisible mark or control character, no white space at its
    ends. A label keeps its tabs and line breaks within.

    >>> plain("\\ufeff 77\\u00a0"), plain("de\\u0301finitif") == "d\\u00e9finitif"
    ('77', True)
    """
    return unicodedata.normalize("NFC", text.translate(_SHOWN)).strip()


def one_line(text: str) -> str:
    """``plain`` for a code, an identifier, a number or a date: each stretch of white space within is one space.

    >>> one_line("E.\\u00a0coli\\t")
    'E. coli'
    """
    return " ".join(plain(text).split())


def compared(text: str) -> str:
    """The form in which two spellings of a code are one: ``one_line`` in upper case.

    >>> compared("d\\u00e9finitif ") == compared("De\\u0301FINITIF")
    True
    """
    return unicodedata.normalize("NFC", one_line(text).upper())


# a number as a spreadsheet shows what is too long for its cell, and the words that it writes where a formula failed
_SPREADSHEET = r"^\s*([+-]?[0-9]([.,][0-9]+)?[eE][+-][0-9]{2,3}|#+|#N/A|#[A-Z0-9/]+[!?])\s*$"
SPREADSHEET_MARKS = (b"E+", b"E-", b"e+", b"e-", b"#")  # one of them stands in every text of the form


def spoilt_pattern() -> str:
    """Regular expression (of Python and of RE2) of an identifier that a spreadsheet destroyed: it names many, or nobody."""
    return _SPREADSHEET


def is_spoilt(text: str) -> bool:
    """Whether a spreadsheet wrote this in an identifier's place.

    >>> is_spoilt("1,23457E+11"), is_spoilt("#N/A"), is_spoilt("12E4")
    (True, True, False)
    """
    return re.match(_SPREADSHEET, text) is not None
