"""Cuts a delivered file into records, for the peers that do the same work: no reader of theirs numbers a damaged line, or survives one.

Written anew from docs/decisions/0016-files.md: the whole file in memory; lines without a quote are judged by counting separators, each line with one
by itself.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
BOM = b"\xef\xbb\xbf"
LONGEST_RECORD = 1 << 20
_SOUND = ""


@dataclass
class Records:
    """The records of a file, one element of each array a record: number, first physical line, first byte and bytes in the decompressed file.

    ``text`` holds the sound ones, in UTF-8 and each with its line end; ``reason`` says of the damaged ones, in ``hurt``, what is wrong.
    """

    text: bytes
    sound: Places
    hurt: Places
    reason: list[str]
    doubtful: int


@dataclass
class Places:
    """Where records stand."""

    number: Ints
    line: Ints
    offset: Ints
    length: Ints


class Refused(Exception):
    """The whole file is refused, by the code of this error."""


def content(path: Path, compression: str, sha256: str, size: int) -> bytes:
    """What a delivered file holds, decompressed; its bytes are those that the manifest declares."""
    raw = path.read_bytes()
    if len(raw) != size or hashlib.sha256(raw).hexdigest() != sha256:
        raise Refused("E_CHECKSUM")
    return gzip.decompress(raw) if compression == "gzip" else raw


def header_end(data: bytes) -> int:
    """Bytes of the header with its line end; a line break within quotes belongs to it."""
    end = 0
    while True:
        stops = [at for at in (data.find(b"\n", end), data.find(b"\r", end)) if at >= 0]
        if not stops:
            return len(data)
        end = min(stops) + 1
        if data[end - 1 : end + 1] == b"\r\n":
            end += 1
        if data.count(b'"', 0, end) % 2 == 0:
            return end


@dataclass
class _Line:
    """A line with quotes, read as one that begins outside of them (``inside`` false) or within: whether a quote stands where none may,
    and the separators outside of quotes."""

    broken: bool
    separators: int


def _read(line: bytes, separator: bytes, inside: bool) -> _Line:
    parts = line.split(b'"')
    broken, count = False, 0
    for n, part in enumerate(parts):
        within = inside != bool(n % 2)
        if not within:
            count += part.count(separator)
        if n + 1 == len(parts):
            break
        if within:  # the quote after this part closes
            after = parts[n + 1]
            broken |= not (after.startswith((separator, b"\r")) or (after == b""))
        else:  # it opens
            broken |= not (part == b"" or part.endswith(separator))
    return _Line(broken, count)


class _Cutter:
    """Cuts a stretch of lines into records."""

    def __init__(self, data: bytes, separator: str, fields: int, returns: bool) -> None:
        self.data, self.separator, self.wanted, self.returns = data, separator.encode(), fields - 1, returns
        block = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(block == 10) + 1
        if returns:
            at = np.flatnonzero(block == 13)
            lone = at[block[np.minimum(at + 1, len(block) - 1)] != 10] + 1
            ends = np.union1d(ends, lone)
        if len(block) and (not len(ends) or ends[-1] < len(block)):
            ends = np.append(ends, len(block))
        self.ends = ends.astype(np.int64)
        self.starts = np.concatenate((np.zeros(min(1, len(ends)), np.int64), self.ends[:-1]))
        self.separators = self._per_line(block == ord(separator))
        quotes = self._per_line(block == 34) if b'"' in data else np.zeros(len(ends), np.int64)
        self.quoted = np.flatnonzero(quotes)
        self.odd = np.flatnonzero(quotes % 2)
        width = self.ends - self.starts
        last = block[np.maximum(self.ends - 1, 0)] if len(ends) else block[:0]
        bare = width - ((last == 10) | ((last == 13) & returns))
        before = block[np.maximum(self.starts + bare - 1, 0)] if len(ends) else block[:0]
        self.blank = (bare == 0) | ((bare == 1) & (before == 13))
        self.doubtful = 0

    def _per_line(self, hits: npt.NDArray[np.bool_]) -> Ints:
        return np.diff(np.searchsorted(np.flatnonzero(hits), self.ends), prepend=0).astype(np.int64)

    def line(self, n: int) -> bytes:
        return self.data[int(self.starts[n]) : int(self.ends[n])].rstrip(b"\n")

    def cut(self) -> tuple[Ints, Ints, Ints, list[str]]:
        """(first bytes, ends, lines, what is wrong with each) of the records; blank lines are left out."""
        wrong = np.where(self.separators == self.wanted, 0, 1).astype(np.int8)  # 0 sound, 1 fields, 2 quote
        for n in self.quoted.tolist():
            read = _read(self.line(n), self.separator, False)
            odd = self.data.count(b'"', int(self.starts[n]), int(self.ends[n])) % 2
            wrong[n] = 2 if read.broken or odd else int(read.separators != self.wanted)
        kept = np.ones(len(self.ends), bool)
        ends = self.ends.copy()
        taken = -1
        for first, last in zip(self.odd[:-1].tolist(), self.odd[1:].tolist(), strict=True):
            if first > taken and self._is_one_record(first, last, wrong):
                wrong[first], ends[first] = 0, self.ends[last]
                kept[first + 1 : last + 1] = False
                taken = last
        kept &= ~self.blank
        lines = np.flatnonzero(kept)
        return self.starts[lines], ends[lines], lines, [("", "fields", "quote")[w] for w in wrong[lines].tolist()]

    def _is_one_record(self, first: int, last: int, wrong: npt.NDArray[np.int8]) -> bool:
        opening = _read(self.line(first), self.separator, False)
        if opening.broken or self.ends[last] - self.starts[first] > LONGEST_RECORD:
            return False
        closing = _read(self.line(last), self.separator, True)
        middle = [_read(self.line(n), self.separator, True) for n in range(first + 1, last) if n in self._with_quotes]
        if closing.broken or any(m.broken for m in middle):
            return False
        if opening.separators + closing.separators + sum(m.separators for m in middle) != self.wanted:
            return False
        if self.wanted == 0:
            return True
        between = slice(first + 1, last)
        whole = int((wrong[between] == 0).sum())
        if 2 * whole > int((~self.blank[between]).sum()):
            return False
        # each alone, its stray quote taken as text
        head, tail = self.line(first), self.line(last)
        after = head[head.rindex(b'"') :].count(self.separator)
        before = tail[: tail.index(b'"')].count(self.separator)
        first_whole = self.wanted in (opening.separators + after, head.count(self.separator))
        last_whole = self.wanted in (closing.separators + before, tail.count(self.separator))
        if first_whole and last_whole:
            return False
        self.doubtful += bool((first_whole and after) or (last_whole and before) or whole)
        return True

    @property
    def _with_quotes(self) -> frozenset[int]:
        if not hasattr(self, "_quoted"):
            self._quoted = frozenset(self.quoted.tolist())
        return self._quoted


def _has_lone_return(record: bytes, sound: bool) -> bool:
    """Whether a carriage return that no line feed follows stands outside of quotes."""
    parts = record.split(b'"')[::2] if sound else [record]
    return any(b"\r" in part.replace(b"\r\n", b"") for part in parts)


def _mended(record: bytes, separator: str, fields: int) -> list[tuple[int, int]] | None:
    """(first byte, end) of the records that carriage returns separate, None where one of the parts is none."""
    starts, ends, _, wrong = _Cutter(record, separator, fields, True).cut()
    return None if any(wrong) or fields < 2 else list(zip(starts.tolist(), ends.tolist(), strict=True))


def cut(data: bytes, start: int, *, separator: str, fields: int, encoding: str) -> Records:
    """The records after the header, which ends at ``start``."""
    returns = data[:start].endswith(b"\r")
    body = data[start:]
    header_lines = (data.count(b"\n", 0, start) + returns * data.count(b"\r", 0, start)) or 1
    cutter = _Cutter(body, separator, fields, returns)
    starts, ends, lines, wrong = cutter.cut()
    if not returns and b"\r" in body.replace(b"\r\n", b""):
        starts, ends, lines, wrong = _by_returns(body, starts, ends, lines, wrong, separator, fields)
    if b"\0" in body:
        for n in _holding(np.frombuffer(body, np.uint8) == 0, starts, ends):
            wrong[n] = "nul"
    for n in _undecodable(body, starts, ends, encoding):
        wrong[n] = "encoding"
    bad = np.array([w != _SOUND for w in wrong], bool)
    number, line = np.arange(1, len(starts) + 1), lines + 1 + header_lines
    offset, length = start + starts, ends - starts
    whole = [Places(*(a[which].astype(np.int64) for a in (number, line, offset, length))) for which in (~bad, bad)]
    text = _text(body, starts, ends, bad, encoding)
    return Records(text, whole[0], whole[1], [w for w in wrong if w != _SOUND], cutter.doubtful)


def _by_returns(
    body: bytes, starts: Ints, ends: Ints, lines: Ints, wrong: list[str], separator: str, fields: int
) -> tuple[Ints, Ints, Ints, list[str]]:
    places: list[tuple[int, int, int, str]] = []
    for first, end, line, what in zip(starts.tolist(), ends.tolist(), lines.tolist(), wrong, strict=True):
        record = body[first:end]
        if b"\r" not in record or not _has_lone_return(record, what == _SOUND):
            places.append((first, end, line, what))
        elif (parts := _mended(record, separator, fields)) is None:
            places.append((first, end, line, what or "fields"))
        else:
            places += [(first + a, first + b, line, _SOUND) for a, b in parts]
    columns = [np.array([p[i] for p in places], np.int64) for i in range(3)]
    return columns[0], columns[1], columns[2], [p[3] for p in places]


def _holding(hits: npt.NDArray[np.bool_], starts: Ints, ends: Ints) -> list[int]:
    """The records that hold one of the bytes."""
    at = np.flatnonzero(hits)
    of = np.searchsorted(ends, at, side="right")
    at, of = at[of < len(ends)], of[of < len(ends)]
    return [int(n) for n in np.unique(of[at >= starts[of]])]


def _undecodable(body: bytes, starts: Ints, ends: Ints, encoding: str) -> list[int]:
    encoding = "utf-8" if encoding == "utf-8-sig" else encoding
    if body.isascii():
        return []
    try:
        body.decode(encoding)
    except UnicodeDecodeError:
        pass
    else:
        return []
    bad = []
    for n in _holding(np.frombuffer(body, np.uint8) > 127, starts, ends):
        try:
            body[int(starts[n]) : int(ends[n])].decode(encoding)
        except UnicodeDecodeError:
            bad.append(n)
    return bad


def _text(body: bytes, starts: Ints, ends: Ints, bad: npt.NDArray[np.bool_], encoding: str) -> bytes:
    whole = len(starts) and not bad.any() and ends[-1] - starts[0] == len(body) and (starts[1:] == ends[:-1]).all()
    block = np.frombuffer(body, np.uint8)
    if whole and not (block[ends - 1] == 13).any():
        text = body
    elif (block[ends - 1] == 13).any():  # a carriage return ends it: readers want a line feed
        sound = zip(starts[~bad].tolist(), ends[~bad].tolist(), strict=True)
        text = b"".join(body[a:b].rstrip(b"\r\n") + b"\n" for a, b in sound)
    else:
        # sound records that follow each other are one piece
        pieces: list[bytes] = []
        first = last = -1
        for a, b in zip(starts[~bad].tolist(), ends[~bad].tolist(), strict=True):
            if a != last:
                pieces.append(body[first:last] if first >= 0 else b"")
                first = a
            last = b
        pieces.append(body[first:last] if first >= 0 else b"")
        text = b"".join(pieces)
    if text and not text.endswith(b"\n"):
        text += b"\n"
    return text if encoding.startswith("utf-8") else text.decode(encoding).encode()
