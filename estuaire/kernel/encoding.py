"""Notices a file that is written in another encoding than its dialect declares.

Declared cp1252 or latin-9: every byte can be read, and UTF-8 gives wrong letters without an error. Text of those encodings is hardly ever
valid UTF-8, so a file that is, from its first byte to its last and with letters beyond ASCII, is UTF-8. Declared UTF-8: each record with an
accent of another encoding is damaged and counted; where many are and not one letter of UTF-8 stands in the file, it is the file, not its
records.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from estuaire.base.errors import EncodingMismatch
from estuaire.kernel.reading import Place

_UTF8 = ("utf-8", "utf-8-sig")
_LETTER = re.compile(r"[^\x00-\x7f\ufeff]")
_FEW = 20  # records that an encoding damages: fewer are bad bytes, which cost their own records and nothing else


@dataclass(frozen=True)
class SingleByte:
    """An encoding of one byte a character that is ASCII below 128, as what it is beside Latin-1, which Python reads at memory's pace.

    Attributes:
        unknown: bytes that stand for nothing.
        others: bytes that mean another letter than in Latin-1, with what Latin-1 makes of them and their own letter, both in UTF-8.
    """

    unknown: bytes
    others: tuple[tuple[int, bytes, bytes], ...]

    def knows(self, data: bytes) -> bool:
        """Whether every byte stands for a character."""
        return not self.unknown or len(data.translate(None, self.unknown)) == len(data)

    def as_utf8(self, data: bytes) -> bytes:
        """Text whose bytes are all known, in UTF-8."""
        text = data.decode("latin-1").encode("utf-8")
        for byte, latin, letter in self.others:
            if byte in data:
                text = text.replace(latin, letter)
        return text


@lru_cache(maxsize=16)
def single_byte(encoding: str) -> SingleByte | None:
    """The encoding as one of a byte a character, None where it is none."""
    unknown, others = bytearray(), []
    for byte in range(256):
        one = bytes([byte])
        try:
            letter = one.decode(encoding)
        except UnicodeDecodeError:
            unknown += one
            continue
        if len(letter) != 1 or (byte < 128 and letter != chr(byte)):
            return None
        if letter != chr(byte):
            others.append((byte, chr(byte).encode(), letter.encode()))
    if len(unknown) > 64 or {letter for _, _, letter in others} & {latin for _, latin, _ in others}:
        return None  # of UTF-8 half of the bytes alone are nothing; and what is replaced must not be found again
    return SingleByte(bytes(unknown), tuple(others))


class EncodingWatch:
    """A stream that looks at the bytes that pass through it: an 8 MiB block costs one decoding until the question is settled."""

    def __init__(self, stream: BinaryIO, declared: str) -> None:
        self._stream = stream
        self._declared = declared
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._valid = True  # as UTF-8, so far
        self._letters = False  # of several bytes, valid in UTF-8
        self._damaged = 0

    def look(self, data: bytes, *, final: bool = False) -> None:
        """Take account of the next bytes of the file."""
        if self._declared in _UTF8:
            self._letters = self._letters or (not data.isascii() and _has_letter(data))
            return
        if not self._valid or (data.isascii() and not final and not self._decoder.getstate()[0]):
            return
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError:
            self._valid = False
        else:
            self._letters = self._letters or _letter_in(text)

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.look(data, final=not data)
        return data

    def damaged(self, records: int) -> None:
        """Records of which a byte is none of the declared encoding."""
        self._damaged += records

    def check(self, place: Place) -> None:
        """Raises EncodingMismatch: the whole file is in another encoding."""
        if self._declared in _UTF8:
            wrong = self._damaged >= _FEW and not self._letters
            problem = f"no letter beyond ASCII is {self._declared}, and {self._damaged} records are in another encoding"
        else:
            wrong = self._valid and self._letters
            problem = f"the file is UTF-8 throughout, its dialect says {self._declared}"
        if wrong:
            raise EncodingMismatch(
                problem,
                remedy="deliver it in the encoding that the guide names (`estuaire guide`), or correct the dialect in the registry",
                hospital=place.hospital,
                delivery=place.delivery,
                file=place.file,
            )


def _has_letter(data: bytes) -> bool:
    """Whether a letter beyond ASCII of valid UTF-8 stands in ``data`` (one cut by its end is not seen)."""
    return _letter_in(data.decode("utf-8", errors="ignore"))


def _letter_in(text: str) -> bool:
    """A byte order mark is none: joining two exports leaves one in a file that holds no other sign of UTF-8."""
    return _LETTER.search(text) is not None
