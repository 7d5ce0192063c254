"""Times and days written with a fixed number of digits, read without SQL: a format of which every part has one width.

What does not fit exactly (another width, a digit that is none, a day that the month has not, a year before 1001) is left to DuckDB's
``try_strptime``, which says what it is, or that it is nothing: this only answers first where both would answer the same.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from estuaire.kernel.clock import Mask, Micros

_FIRST_YEAR = 1001  # a moment of the year 1000 may lie in 999, whose texts are refused
_DAY = 86_400_000_000
_DIGITS = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2, "f": 6}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_ZONE_WIDTHS = (6, 1)  # +01:00, Z


@dataclass(frozen=True)
class Layout:
    """Where the parts of a format stand. ``fields``: part -> (first character, digits); ``literals``: place -> character."""

    width: int
    fields: tuple[tuple[str, int, int], ...]
    literals: tuple[tuple[int, int], ...]
    zoned: bool

    @property
    def ends_in_text(self) -> bool:
        """Whether a character of the format's own ends what it reads."""
        return any(place == self.width - 1 for place, _ in self.literals)


@lru_cache(maxsize=64)
def layout(pattern: str) -> Layout | None:
    """The layout of a strptime format, None where a part has no fixed width or a day is not whole."""
    fields: list[tuple[str, int, int]] = []
    literals: list[tuple[int, int]] = []
    place, zoned, i = 0, False, 0
    while i < len(pattern):
        if pattern[i] != "%":
            literals.append((place, ord(pattern[i])))
            place, i = place + 1, i + 1
            continue
        part = pattern[i + 1 : i + 2]
        i += 2
        if part == "z" and i == len(pattern):
            zoned = True
        elif part == "b":
            fields.append(("b", place, 3))
            place += 3
        elif part in _DIGITS:
            fields.append((part, place, _DIGITS[part]))
            place += _DIGITS[part]
        else:
            return None
    named = [name for name, _, _ in fields]
    whole = {"Y", "d"} <= {*named} and ("m" in named) != ("b" in named) and len(named) == len({*named})
    if not whole or not pattern.isascii():
        return None
    return Layout(place, tuple(fields), tuple(literals), zoned)


@lru_cache(maxsize=1)
def _months() -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """(days from 1970 to the first of each month, days that it has), from the year 1001 to 9999."""
    years = range(_FIRST_YEAR, 10_000)
    epoch = date(1970, 1, 1)
    first = [(date(y, m, 1) - epoch).days for y in years for m in range(1, 13)]
    return np.array(first, np.int32), np.array([monthrange(y, m)[1] for y in years for m in range(1, 13)], np.uint8)


@lru_cache(maxsize=1)
def _month_numbers() -> npt.NDArray[np.uint8]:
    """Month by the five low bits of its three letters, 0 where there is none."""
    table = np.zeros(1 << 15, np.uint8)
    for number, name in enumerate(_MONTHS, start=1):
        a, b, c = (ord(letter) & 31 for letter in name)
        table[(a << 10) | (b << 5) | c] = number
    return table


@dataclass
class Times:
    """Texts that were read, by row: ``read`` says which; ``local`` (of those without an offset) and ``moment`` (with one) in microseconds since
    1970; ``day``: the day that is written, days since 1970."""

    read: Mask
    zoned: Mask
    micros: Micros
    day: npt.NDArray[np.int32]


def read(values: pa.StringArray, formats: tuple[str, ...]) -> Times:
    """Read what fits one of the formats: those with an offset first, then in their order."""
    layouts = sorted(
        (one for pattern in formats if (one := layout(pattern)) is not None), key=lambda one: not one.zoned
    )
    # what fits a later format may be one of an earlier format's, and what a form without an offset ends in may be one
    offsets_told = any("%z" in pattern for pattern in formats)
    if len(layouts) < len(formats) or (offsets_told and any(one.ends_in_text and not one.zoned for one in layouts)):
        layouts = []
    rows = len(values)
    times = Times(np.zeros(rows, bool), np.zeros(rows, bool), np.zeros(rows, np.int64), np.zeros(rows, np.int32))
    _, offsets, data = values.buffers()
    if data is None or not rows:
        return times
    ends = np.frombuffer(offsets, np.int32, count=rows + 1, offset=4 * values.offset)
    widths = ends[1:] - ends[:-1]
    if values.null_count:  # a null may have a width
        widths[~values.is_valid().to_numpy(zero_copy_only=False)] = -1
    characters = np.frombuffer(data, np.uint8)
    for one in layouts:
        for width in (one.width + zone for zone in _ZONE_WIDTHS) if one.zoned else (one.width,):
            fitting = widths == width
            fitting &= ~times.read
            if fitting.all():
                start = int(ends[0])
                _read(characters[start : start + rows * width].reshape(rows, width), one, None, times)
            elif fitting.any():
                chosen = np.flatnonzero(fitting)
                _read(characters[ends[chosen][:, None] + np.arange(width, dtype=np.int32)], one, chosen, times)
    return times


def _read(text: npt.NDArray[np.uint8], one: Layout, rows: npt.NDArray[np.int64] | None, times: Times) -> None:
    """Read texts of one width, a row of ``text`` each."""
    sound = np.ones(len(text), bool)
    for place, character in one.literals:
        sound &= text[:, place] == character
    parts: dict[str, Any] = {}
    for name, place, width in one.fields:
        if name == "b":
            letters = text[:, place : place + 3]
            sound &= ((letters | 32) - 97 < 26).all(axis=1)
            low = (letters & 31).astype(np.int32)
            parts["m"] = _month_numbers()[(low[:, 0] << 10) | (low[:, 1] << 5) | low[:, 2]].astype(np.int32)
        else:
            parts[name] = _number(text, place, width, sound)
    if one.zoned:
        parts["zone"] = _zone(text, one.width, sound)
    first_of, days_of = _months()
    month = parts["m"]
    sound &= (month >= 1) & (month <= 12) & (parts["Y"] >= _FIRST_YEAR)
    for name, limit in (("H", 23), ("M", 59), ("S", 59)):
        if name in parts:
            sound &= parts[name] <= limit
    in_table = np.where(sound, (parts["Y"] - _FIRST_YEAR) * 12 + month - 1, 0)
    sound &= (parts["d"] >= 1) & (parts["d"] <= days_of[in_table])
    day = first_of[in_table] + parts["d"] - 1
    seconds = np.zeros(len(text), np.int64)
    for name, unit in (("H", 3600), ("M", 60), ("S", 1)):
        if name in parts:
            seconds += parts[name].astype(np.int64) * unit
    micros = day.astype(np.int64) * _DAY + seconds * 1_000_000
    if "f" in parts:
        micros += parts["f"]
    if one.zoned:
        micros -= parts["zone"]
    chosen = np.flatnonzero(sound) if rows is None else rows[sound]
    times.read[chosen], times.zoned[chosen] = True, one.zoned
    times.micros[chosen], times.day[chosen] = micros[sound], day[sound]


def _number(text: npt.NDArray[np.uint8], place: int, width: int, sound: Mask) -> npt.NDArray[np.int32]:
    number = np.zeros(len(text), np.int32)
    for character in range(place, place + width):
        digit = text[:, character] - np.uint8(48)  # what is no digit is above 9: unsigned
        sound &= digit < 10
        number = number * 10 + digit
    return number


def _zone(text: npt.NDArray[np.uint8], place: int, sound: Mask) -> npt.NDArray[np.int64]:
    """Microseconds that the written clock is ahead of UTC."""
    if text.shape[1] == place + 1:
        sound &= text[:, place] == ord("Z")
        return np.zeros(len(text), np.int64)
    sign = text[:, place]
    sound &= ((sign == ord("+")) | (sign == ord("-"))) & (text[:, place + 3] == ord(":"))
    hours, minutes = _number(text, place + 1, 2, sound), _number(text, place + 4, 2, sound)
    sound &= (hours < 15) & (minutes < 60)
    ahead = (hours.astype(np.int64) * 60 + minutes) * 60_000_000
    return np.where(sign == ord("-"), -ahead, ahead)
