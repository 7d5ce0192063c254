"""Cuts a delimited file into records before any parser sees it, vectorised over blocks of bytes.

Framing gives each record its number, first physical line and byte range, counts the records independently of the parser, and
sets damaged records apart: a stray quote, a NUL, a byte that the encoding does not know or a wrong number of fields costs the
physical line that it stands on and nothing else. The parser then reads only what is sound, and must return exactly as many
records as framing counted.

Rules (RFC 4180 with ``""`` as the escaped quote): an opening quote follows a delimiter, a line end or the start; a closing quote
precedes a delimiter, a line end, the end or another quote. Where a quote breaks them, or a quoted field never closes, the
first physical line of that record is damaged and framing starts afresh on the next line. Blank lines are no records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

BLOCK_BYTES = 8 << 20
MAX_RECORD_BYTES = 1 << 20  # a record of several lines that spans more is a stray quote
_WINDOW_BYTES = 16 << 10  # a stray quote costs another look at its window, not at the whole block
_NL, _CR, _QUOTE, _NUL = 10, 13, 34, 0

REASONS = ("quote", "nul", "encoding", "fields")


@dataclass(frozen=True)
class Damaged:
    """Records that no parser may see: one entry each, ``reason`` an index into REASONS."""

    record_number: Ints
    line_number: Ints
    offset: Ints
    length: Ints
    reason: Ints


@dataclass(frozen=True)
class Frame:
    """One block of a file.

    ``clean`` holds the sound records, UTF-8, each ended by a newline; the arrays describe them, one element a record, in file
    order. ``offset`` and ``length`` are bytes of the decompressed file, ``line_number`` its first physical line (header = 1).
    """

    clean: bytes
    record_number: Ints
    line_number: Ints
    offset: Ints
    length: Ints
    damaged: Damaged
    embedded_newlines: bool


def _record_ends(
    block: npt.NDArray[np.uint8], newlines: Ints, quotes: Ints, delimiter: int, fields: int, final: bool
) -> tuple[Ints, Ints, int]:
    """Ends (exclusive) of the records of a block, the starts of lines damaged by quotes, and where the open record starts.

    What follows the last returned end belongs to the next block, unless ``final``. Looks at small windows, wider where a record
    does not end in one: a block full of stray quotes costs no more than its windows.
    """
    size = len(block)
    ends: list[Ints] = []
    damaged: list[Ints] = []
    start, width = 0, _WINDOW_BYTES
    while start < size:
        stop = min(start + width, size)
        own, lines = (a[np.searchsorted(a, start) : np.searchsorted(a, stop)] - start for a in (quotes, newlines))
        found, hurt, used = _window_ends(block[start:stop], lines, own, delimiter, fields, final and stop == size)
        ends.append(found + start)
        damaged.append(hurt + start)
        start += used
        if stop == size:
            break
        width = _WINDOW_BYTES if used else 2 * width
    return np.concatenate(ends), np.concatenate(damaged), start


def _window_ends(
    block: npt.NDArray[np.uint8], newlines: Ints, quotes: Ints, delimiter: int, fields: int, final: bool
) -> tuple[Ints, Ints, int]:
    """``_record_ends`` of one window."""
    size = len(block)
    ends: list[Ints] = []
    damaged: list[int] = []
    delimiters: Ints | None = None
    start = 0
    while start < size:
        own = quotes[np.searchsorted(quotes, start) :]
        lines = newlines[np.searchsorted(newlines, start) :]
        opening, closing = own[0::2], own[1::2]
        before = block[np.maximum(opening - 1, 0)]
        bad_open = (opening != start) & (before != delimiter) & (before != _NL) & (before != _QUOTE)
        after = block[np.minimum(closing + 1, size - 1)]
        bad_close = (closing != size - 1) & (after != delimiter) & (after != _NL) & (after != _CR) & (after != _QUOTE)
        first_open = int(np.argmax(bad_open)) if bad_open.any() else -1
        first_close = int(np.argmax(bad_close)) if bad_close.any() else -1
        # the violating pair: its opening quote tells the record to give up
        pairs = [i for i in (first_open, first_close) if i >= 0]
        violation = int(opening[min(pairs)]) if pairs else -1
        inside = np.searchsorted(own, lines) & 1
        outer = lines[inside == 0]
        if violation < 0 and len(own) & 1:
            last = int(opening[-1])
            record_start = int(outer[np.searchsorted(outer, last) - 1]) + 1 if (outer < last).any() else start
            if final or size - record_start > MAX_RECORD_BYTES:
                violation = last
            else:
                outer = outer[outer < record_start]
        limit = violation if violation >= 0 else size
        good = outer[outer < limit]
        # a record over several lines must also have the right number of fields, else its quotes cannot be trusted
        if (inside == 1).any() and len(good):
            if delimiters is None:
                delimiters = np.flatnonzero(block == delimiter).astype(np.int64)
            starts = np.concatenate(([start], good[:-1] + 1))
            several = np.searchsorted(lines, good) - np.searchsorted(lines, starts) > 0
            for i in np.flatnonzero(several):
                a, b = int(starts[i]), int(good[i])
                within = delimiters[np.searchsorted(delimiters, a) : np.searchsorted(delimiters, b)]
                if b - a > MAX_RECORD_BYTES or int(((np.searchsorted(own, within) & 1) == 0).sum()) != fields - 1:
                    violation = a
                    good = good[:i]
                    break
        ends.append(good + 1)
        record_start = int(good[-1]) + 1 if len(good) else start
        if violation < 0:
            start = record_start
            break
        line_end = int(lines[np.searchsorted(lines, record_start)]) + 1 if (lines >= record_start).any() else size
        if line_end == size and not final and (size == 0 or block[size - 1] != _NL):
            start = record_start  # its line goes on in the next block
            break
        damaged.append(record_start)
        ends.append(np.array([line_end], dtype=np.int64))
        start = line_end
    return (
        np.concatenate(ends) if ends else np.empty(0, np.int64),
        np.array(damaged, dtype=np.int64),
        start,
    )


def _bad_bytes(data: bytes, starts: Ints, ends: Ints, encoding: str) -> list[int]:
    """Indexes of records with bytes that the encoding does not know."""
    found: list[int] = []
    if encoding == "utf-8-sig":
        encoding = "utf-8"  # the mark stood before the header; a decoder that skips another one misplaces the bad byte
    position, view = 0, memoryview(data)
    stop = int(ends[-1]) if len(ends) else 0
    while position < stop:
        try:
            str(view[position:stop], encoding)
            break
        except UnicodeDecodeError as error:
            index = int(np.searchsorted(ends, position + error.start, side="right"))
            found.append(index)
            position = int(ends[index])
    return found


def frame_block(
    data: bytes,
    *,
    delimiter: str,
    fields: int,
    encoding: str,
    first_record: int,
    first_line: int,
    first_offset: int,
    final: bool,
) -> tuple[Frame, int]:
    """Frame one block; returns it and the number of bytes used (the rest is put before the next block).

    Args:
        fields: how many fields the header has.
        first_record, first_line, first_offset: number, physical line and byte offset of the block's first record.
        final: the file ends with this block.
    """
    if final and data and not data.endswith(b"\n"):
        data += b"\n"
    block = np.frombuffer(data, dtype=np.uint8)
    newlines = np.flatnonzero(block == _NL).astype(np.int64)
    delimiter_byte = ord(delimiter)
    quotes = np.flatnonzero(block == _QUOTE).astype(np.int64)
    if len(quotes):
        ends, damaged_starts, used = _record_ends(block, newlines, quotes, delimiter_byte, fields, final)
    else:
        ends, damaged_starts = newlines + 1, np.empty(0, np.int64)
        used = int(ends[-1]) if len(ends) else 0
    starts = np.concatenate((np.zeros(min(1, len(ends)), np.int64), ends[:-1]))
    line_of = first_line + np.searchsorted(newlines, starts)

    reason = np.full(len(ends), -1, np.int64)
    delimiters = np.flatnonzero(block[:used] == delimiter_byte).astype(np.int64)
    if len(quotes):
        delimiters = (
            delimiters[(np.searchsorted(quotes, delimiters) & 1) == 0] if not len(damaged_starts) else delimiters
        )
    if len(damaged_starts):
        # parity restarts after each damaged line: count per record by its own quotes
        rank = np.searchsorted(quotes, delimiters) - np.searchsorted(
            quotes, starts[np.searchsorted(ends, delimiters, side="right")]
        )
        delimiters = delimiters[(rank & 1) == 0]
    counts = np.searchsorted(delimiters, ends) - np.searchsorted(delimiters, starts)
    reason[counts != fields - 1] = REASONS.index("fields")
    text_length = ends - starts - 1
    blank = text_length == 0
    if b"\r" in data:
        returns = np.flatnonzero(block[:used] == _CR).astype(np.int64)
        lone = returns[block[np.minimum(returns + 1, len(block) - 1)] != _NL]
        record = np.searchsorted(ends, lone, side="right")
        outside = ((np.searchsorted(quotes, lone) - np.searchsorted(quotes, starts[record])) & 1) == 0
        reason[record[outside]] = REASONS.index("fields")
        blank |= (text_length == 1) & (block[starts] == _CR)
    if len(damaged_starts):
        reason[np.searchsorted(starts, damaged_starts)] = REASONS.index("quote")
    if b"\x00" in data:
        at = np.flatnonzero(block[:used] == _NUL)
        reason[np.searchsorted(ends, at, side="right")] = REASONS.index("nul")
    if not data.isascii():
        for index in _bad_bytes(data, starts, ends, encoding):
            reason[index] = REASONS.index("encoding")

    if blank.any():
        keep = ~blank
        reason[blank] = -1
    else:
        keep = np.ones(len(ends), bool)
    number = first_record + np.cumsum(keep) - 1
    sound = keep & (reason < 0)
    hurt = keep & (reason >= 0)
    if sound.all():
        clean = data[:used]
    else:
        edges = np.flatnonzero(np.diff(np.concatenate(([0], sound.view(np.int8), [0]))))
        clean = b"".join(data[starts[a] : ends[b - 1]] for a, b in edges.reshape(-1, 2))
    if encoding not in ("utf-8", "utf-8-sig") and not clean.isascii():
        clean = clean.decode(encoding).encode("utf-8")
    lines_within = np.searchsorted(newlines, ends - 1) - np.searchsorted(newlines, starts)
    frame = Frame(
        clean=clean,
        record_number=number[sound],
        line_number=line_of[sound],
        offset=first_offset + starts[sound],
        length=(ends - starts)[sound],
        damaged=Damaged(
            record_number=number[hurt],
            line_number=line_of[hurt],
            offset=first_offset + starts[hurt],
            length=(ends - starts)[hurt],
            reason=reason[hurt],
        ),
        embedded_newlines=bool((lines_within[sound] > 0).any()),
    )
    return frame, used


def frames(
    stream: BinaryIO,
    *,
    delimiter: str,
    fields: int,
    encoding: str,
    first_offset: int,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[Frame]:
    """Frame a stream that stands after its header line; bounded memory (a few blocks).

    Yields one Frame a block. The first record has number 1 and stands on physical line 2.
    """
    record, line, offset = 1, 2, first_offset
    rest = b""
    while True:
        chunk = stream.read(block_bytes)
        final = len(chunk) == 0
        data = rest + chunk if rest else chunk
        if final and not data:
            return
        frame, used = frame_block(
            data,
            delimiter=delimiter,
            fields=fields,
            encoding=encoding,
            first_record=record,
            first_line=line,
            first_offset=offset,
            final=final,
        )
        record += len(frame.record_number) + len(frame.damaged.record_number)
        line += data.count(b"\n", 0, used)
        offset += used
        rest = data[used:]
        yield frame
        if final:
            return
