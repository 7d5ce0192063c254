"""Cuts a delimited file into records before any parser sees it, vectorised over blocks of bytes, in time linear in the bytes.

Framing gives each record its number, first physical line and byte range, counts the records independently of the parser, and
sets damaged records apart: a stray quote, a NUL, a byte that the encoding does not know or a wrong number of fields costs the
physical line that it stands on and nothing else. The parser then reads only what is sound, and must return exactly as many
records as framing counted.

Rules (RFC 4180 with ``""`` as the escaped quote): an opening quote follows a delimiter, a line end or the start; a closing quote
precedes a delimiter, a line end, the end or another quote. Where a quote breaks them, or a quoted field never closes, the
first physical line of that record is damaged and framing starts afresh on the next line. Blank lines are no records.

Two strays. An unclosed quote may find its partner in another stray quote lines below, and all between would be one record. Lines that
are whole records by themselves tell: a record over several lines is not believed, and its first line is damaged, where most lines in its
middle are records with the header's number of fields, or where its first and its last line both are (their stray quotes taken as text).
What stays ambiguous is counted in ``Frame.doubtful``: docs/decisions/0016-files.md.

Line ends are LF and CRLF. In a file whose header ends in a lone carriage return, that too; in another file it ends a line where each part
between is a whole record, and damages its line elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from estuaire.base.errors import BeyondLimit
from estuaire.kernel.encoding import single_byte
from estuaire.kernel.limits import LIMITS, Limits

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

BLOCK_BYTES = 8 << 20
MAX_RECORD_BYTES = LIMITS.record_bytes
_NL, _CR, _QUOTE, _NUL = 10, 13, 34, 0

REASONS = ("quote", "nul", "encoding", "fields")
_SOUND, _BAD_QUOTE, _BAD_FIELDS = -1, REASONS.index("quote"), REASONS.index("fields")


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

    ``clean`` holds the sound records, UTF-8, each with its line end; the arrays describe them, one element a record, in file
    order. ``offset`` and ``length`` are bytes of the decompressed file, ``line_number`` its first physical line (header = 1).
    ``doubtful`` counts the records over several lines that two stray quotes might have made (see the module's docstring).
    """

    clean: bytes
    record_number: Ints
    line_number: Ints
    offset: Ints
    length: Ints
    damaged: Damaged
    embedded_newlines: bool
    doubtful: int = 0


@dataclass(frozen=True)
class _Cut:
    """Records of a block: ends (exclusive), reasons, and the line (counted from the block's first) on which each begins."""

    starts: Ints
    ends: Ints
    reason: Ints
    line: Ints
    lines: int  # used up
    several: bool
    doubtful: int

    @property
    def used(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0


@dataclass(frozen=True)
class _Lines:
    """Physical lines of a block, each looked at twice: as one that begins outside quotes, and as one that begins within a quoted field."""

    starts: Ints
    ends: Ints
    odd: Bools  # an odd number of quotes: it ends in the other state than it begins
    bad_outside: Bools
    bad_inside: Bools
    blank: Bools
    delimiters: Ints  # all
    outside: Ints  # delimiters that separate fields where the line begins outside quotes; the others do where it begins inside
    before_first: Ints  # delimiters before the first quote
    after_last: Ints  # delimiters after the last quote


def _line_ends(block: Bytes, returns: bool, final: bool) -> Ints:
    """Positions of the bytes that end the lines; ``returns``: a lone carriage return does."""
    ends = np.flatnonzero(block == _NL)
    if not returns:
        return ends
    lone = _lone_returns(block)
    if not final and len(lone) and lone[-1] == len(block) - 1:
        lone = lone[:-1]  # its line feed may stand in the next block
    return np.sort(np.concatenate((ends, lone)))


def _lone_returns(block: Bytes) -> Ints:
    at = np.flatnonzero(block == _CR)
    after = block[np.minimum(at + 1, len(block) - 1)]
    lone: Ints = at[after != _NL]
    return lone


def _count(lines: Ints, count: int) -> Ints:
    return np.bincount(lines, minlength=count).astype(np.int64)


def _look(block: Bytes, newlines: Ints, quotes: Ints, delimiters: Ints, delimiter: int) -> _Lines:
    """The lines of a block with quotes; ``quotes`` and ``delimiters`` lie before the last line end."""
    count = len(newlines)
    starts = np.concatenate((np.zeros(1, np.int64), newlines[:-1] + 1))
    line = np.searchsorted(newlines, quotes)
    quoted = _count(line, count)
    first = np.cumsum(quoted) - quoted
    opens = ((np.arange(len(quotes)) - first[line]) & 1) == 0  # where the line begins outside
    before = block[np.maximum(quotes - 1, 0)]
    may_open = (quotes == starts[line]) | (before == delimiter) | (before == _QUOTE)
    after = block[np.minimum(quotes + 1, len(block) - 1)]
    may_close = (after == delimiter) | (after == _NL) | (after == _CR) | (after == _QUOTE)
    odd = (quoted & 1) == 1
    bad_outside = _count(line[~np.where(opens, may_open, may_close)], count) > 0
    until = np.searchsorted(delimiters, newlines)
    every = np.diff(until, prepend=0)
    # most lines have no quote: what stands where is asked of the others
    some = np.flatnonzero(quoted)
    of = np.repeat(some, every[some])
    chosen = np.arange(len(of)) + np.repeat((until - every)[some] - np.cumsum(every[some]) + every[some], every[some])
    rank = np.searchsorted(quotes, delimiters[chosen]) - first[of]
    plain = np.where(quoted == 0, every, 0)
    outside = plain + _count(of[(rank & 1) == 0], count)
    if not odd.any():
        return _Lines(starts, newlines + 1, odd, bad_outside, bad_outside, odd, every, outside, every, every)
    return _Lines(
        starts=starts,
        ends=newlines + 1,
        odd=odd,
        bad_outside=bad_outside,
        bad_inside=_count(line[~np.where(opens, may_close, may_open)], count) > 0,
        blank=_blank(block, starts, newlines + 1),
        delimiters=every,
        outside=outside,
        before_first=plain + _count(of[rank == 0], count),
        after_last=plain + _count(of[rank == quoted[of]], count),
    )


def _total(of: Ints | Bools) -> Ints:
    """Sums before each line: those of lines a to b - 1 are ``total[b] - total[a]``."""
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(of.astype(np.int64))))


def _join(lines: _Lines, fields: int, final: bool, size: int, record_bytes: int) -> tuple[Ints, Ints, int, int]:
    """Records over several lines: (their first lines, their last lines, doubtful ones, number of lines that are settled).

    A line with an odd number of quotes that begins outside them ends within a quoted field, and only the next such line can close it:
    each pair of neighbours among them is judged once, whatever is made of the others.
    """
    odd = np.flatnonzero(lines.odd)
    count = len(lines.ends)
    whole = ~lines.bad_outside & ~lines.odd & (lines.outside == fields - 1) & (fields > 1)
    bad, inside = _total(lines.bad_inside), _total(lines.delimiters - lines.outside)
    wholes, written = _total(whole), _total(~lines.blank)
    first, last = odd[:-1], odd[1:]
    between = wholes[last] - wholes[first + 1]
    joined = ~lines.bad_outside[first] & (bad[last + 1] == bad[first + 1])
    joined &= lines.outside[first] + inside[last + 1] - inside[first + 1] == fields - 1
    joined &= lines.ends[last] - lines.starts[first] <= record_bytes
    joined &= 2 * between <= written[last] - written[first + 1]  # most lines between would be whole records
    # each alone, with its one stray quote taken as text, has the right number of fields
    opening = lines.outside[first] + lines.after_last[first]
    opening_whole = (opening == fields - 1) | (lines.delimiters[first] == fields - 1)
    closing = lines.before_first[last] + lines.delimiters[last] - lines.outside[last]
    closing_whole = (closing == fields - 1) | (lines.delimiters[last] == fields - 1)
    if fields > 1:
        joined &= ~(opening_whole & closing_whole)
    doubtful = (opening_whole & (lines.after_last[first] > 0)) | (closing_whole & (lines.before_first[last] > 0))
    doubtful |= between > 0

    taken: list[int] = []
    position = 0
    for pair in np.flatnonzero(joined).tolist():
        if pair >= position:
            taken.append(pair)
            position = pair + 2
    chosen = np.array(taken, np.int64)
    settled = count
    if not final and len(odd) and position <= len(odd) - 1:
        # the last one opens a field that the next block may close
        start = int(odd[-1])
        hopeless = (
            bool(lines.bad_outside[start])
            or int(bad[count] - bad[start + 1]) > 0
            or size - int(lines.starts[start]) > record_bytes
        )
        if not hopeless:
            settled = start
    return first[chosen], last[chosen], int(doubtful[chosen].sum()) if fields > 1 else 0, settled


def _cut(block: Bytes, delimiter: int, fields: int, final: bool, returns: bool, limits: Limits) -> _Cut:
    newlines = _line_ends(block, returns, final)
    if not len(newlines):
        nothing = np.empty(0, np.int64)
        return _Cut(nothing, nothing, nothing, nothing, 0, False, 0)
    stop = int(newlines[-1])
    quotes = np.flatnonzero(block[:stop] == _QUOTE)
    delimiters = np.flatnonzero(block[:stop] == delimiter)
    if not len(quotes):
        ends = newlines + 1
        starts = np.concatenate((np.zeros(1, np.int64), newlines[:-1] + 1))
        counts = np.diff(np.searchsorted(delimiters, ends), prepend=0)  # a line begins where the one before it ends
        reason = np.where(counts == fields - 1, _SOUND, _BAD_FIELDS)
        return _Cut(starts, ends, reason, np.arange(len(ends)), len(ends), False, 0)
    lines = _look(block, newlines, quotes, delimiters, delimiter)
    reason = np.where(lines.outside == fields - 1, _SOUND, _BAD_FIELDS)
    reason[lines.bad_outside | lines.odd] = _BAD_QUOTE
    if not lines.odd.any():
        return _Cut(lines.starts, lines.ends, reason, np.arange(len(reason)), len(reason), False, 0)
    first, last, doubtful, settled = _join(lines, fields, final, len(block), limits.record_bytes)
    reason[first] = _SOUND
    step = np.zeros(len(reason) + 1, np.int64)
    step[first] += 1
    step[last] -= 1
    ending = np.flatnonzero(np.cumsum(step)[:settled] == 0)
    beginning = np.concatenate((np.zeros(min(1, len(ending)), np.int64), ending[:-1] + 1))
    return _Cut(
        lines.starts[beginning],
        lines.ends[ending],
        reason[beginning],
        beginning,
        int(ending[-1]) + 1 if len(ending) else 0,
        len(first) > 0,
        doubtful,
    )


def _mend_returns(block: Bytes, cut: _Cut, delimiter: int, fields: int, limits: Limits) -> _Cut:
    """Records with a lone carriage return outside quotes: several records where each part is a whole one, else damaged."""
    lone = _lone_returns(block[: cut.used])
    if not len(lone) or not len(cut.ends):
        return cut
    quotes = np.flatnonzero(block[: cut.used] == _QUOTE)
    record = np.searchsorted(cut.ends, lone, side="right")
    rank = np.searchsorted(quotes, lone) - np.searchsorted(quotes, cut.starts[record])
    outside = ((rank & 1) == 0) | (cut.reason[record] >= 0)
    hurt = np.zeros(len(cut.ends), bool)
    hurt[record[outside]] = True
    if not hurt.any():
        return cut
    reason = cut.reason.copy()
    reason[hurt & (reason < 0)] = _BAD_FIELDS
    parts = _cut(block[: cut.used], delimiter, fields, True, True, limits)
    blank = _blank(block, parts.starts, parts.ends)
    unsound = _total((parts.reason >= 0) & ~blank)
    low = np.searchsorted(parts.starts, cut.starts)
    high = np.searchsorted(parts.ends, cut.ends)
    known = (low < len(parts.starts)) & (high < len(parts.ends))
    low, high = np.minimum(low, len(parts.starts) - 1), np.minimum(high, len(parts.ends) - 1)
    mended = hurt & known & (parts.starts[low] == cut.starts) & (parts.ends[high] == cut.ends)
    mended &= (unsound[high + 1] == unsound[low]) & (fields > 1)
    if not mended.any():
        return _Cut(cut.starts, cut.ends, reason, cut.line, cut.lines, cut.several, cut.doubtful)
    kept = ~mended
    of = np.searchsorted(cut.ends, parts.ends)  # the record of each part
    inner = mended[np.minimum(of, len(mended) - 1)]
    starts = np.concatenate((cut.starts[kept], parts.starts[inner]))
    order = np.argsort(starts, kind="stable")
    return _Cut(
        starts[order],
        np.concatenate((cut.ends[kept], parts.ends[inner]))[order],
        np.concatenate((reason[kept], parts.reason[inner]))[order],
        np.concatenate((cut.line[kept], cut.line[of[inner]]))[order],
        cut.lines,
        cut.several or parts.several,
        cut.doubtful,
    )


def _blank(block: Bytes, starts: Ints, ends: Ints) -> Bools:
    length = ends - starts - 1
    blank: Bools = (length == 0) | ((length == 1) & (block[starts] == _CR))
    return blank


def _bad_bytes(data: bytes, block: Bytes, starts: Ints, ends: Ints, encoding: str) -> list[int]:
    """Indexes of records with bytes that the encoding does not know."""
    stop = int(ends[-1]) if len(ends) else 0
    if encoding == "utf-8-sig":
        encoding = "utf-8"  # the mark stood before the header; a decoder that skips another one misplaces the bad byte
    if (single := single_byte(encoding)) is not None:
        if single.knows(data[:stop]):
            return []
        unknown = np.isin(block[:stop], np.frombuffer(single.unknown, np.uint8))
        return np.unique(np.searchsorted(ends, np.flatnonzero(unknown), side="right")).tolist()  # type: ignore[no-any-return]
    view = memoryview(data)
    try:
        str(view[:stop], encoding)
        return []
    except UnicodeDecodeError:
        pass
    # each record with a byte beyond ASCII by itself: an error copies what it looked at
    undecodable = []
    for index in np.unique(np.searchsorted(ends, np.flatnonzero(block[:stop] > 127), side="right")).tolist():
        try:
            str(view[starts[index] : ends[index]], encoding)
        except UnicodeDecodeError:
            undecodable.append(index)
    return undecodable


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
    returns: bool = False,
    limits: Limits = LIMITS,
) -> tuple[Frame, int, int]:
    """Frame one block; returns it and the numbers of bytes and of lines used (the rest is put before the next block).

    Args:
        fields: how many fields the header has.
        first_record, first_line, first_offset: number, physical line and byte offset of the block's first record.
        final: the file ends with this block.
        returns: a lone carriage return ends a line.
    """
    if final and data and not data.endswith((b"\n", b"\r") if returns else b"\n"):
        data += b"\n"
    block = np.frombuffer(data, dtype=np.uint8)
    cut = _cut(block, ord(delimiter), fields, final, returns, limits)
    if not returns and b"\r" in data:
        cut = _mend_returns(block, cut, ord(delimiter), fields, limits)
    starts, ends, used = cut.starts, cut.ends, cut.used
    reason = cut.reason.astype(np.int64)
    blank = _blank(block, starts, ends)
    if b"\x00" in data:
        at = np.flatnonzero(block[:used] == _NUL)
        reason[np.searchsorted(ends, at, side="right")] = REASONS.index("nul")
    if not data.isascii():
        for index in _bad_bytes(data, block, starts, ends, encoding):
            reason[index] = REASONS.index("encoding")

    if blank.any():
        keep = ~blank
        reason[blank] = _SOUND
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
        single = single_byte(encoding)
        clean = clean.decode(encoding).encode("utf-8") if single is None else single.as_utf8(clean)
    line_of = first_line + cut.line
    length = ends - starts
    frame = Frame(
        clean=clean,
        record_number=number[sound],
        line_number=line_of[sound],
        offset=first_offset + starts[sound],
        length=length[sound],
        damaged=Damaged(
            record_number=number[hurt],
            line_number=line_of[hurt],
            offset=first_offset + starts[hurt],
            length=length[hurt],
            reason=reason[hurt],
        ),
        embedded_newlines=cut.several,
        doubtful=cut.doubtful,
    )
    return frame, used, cut.lines


def frames(
    stream: BinaryIO,
    *,
    delimiter: str,
    fields: int,
    encoding: str,
    first_offset: int,
    first_line: int = 2,
    returns: bool = False,
    block_bytes: int = BLOCK_BYTES,
    limits: Limits = LIMITS,
) -> Iterator[Frame]:
    """Frame a stream that stands after its header line; bounded memory (a few blocks).

    Yields one Frame a block, or several of a block of very short lines. The first record has number 1 and stands on ``first_line``.

    Raises:
        BeyondLimit: a line is longer than the limit (without a place: the caller knows it).
    """
    record, line, offset = 1, first_line, first_offset
    rest = b""
    while True:
        chunk = stream.read(block_bytes)
        final = len(chunk) == 0
        data = rest + chunk if rest else chunk
        if final and not data:
            return
        while True:
            piece = _piece(data, returns, limits.block_lines)
            last = len(piece) == len(data)
            frame, used, lines = frame_block(
                piece,
                delimiter=delimiter,
                fields=fields,
                encoding=encoding,
                first_record=record,
                first_line=line,
                first_offset=offset,
                final=final and last,
                returns=returns,
                limits=limits,
            )
            if not used and not last:
                # one record over all of the piece's lines: look at the whole
                frame, used, lines = frame_block(
                    data,
                    delimiter=delimiter,
                    fields=fields,
                    encoding=encoding,
                    first_record=record,
                    first_line=line,
                    first_offset=offset,
                    final=final,
                    returns=returns,
                    limits=limits,
                )
                last = True
            record += len(frame.record_number) + len(frame.damaged.record_number)
            line += lines
            offset += used
            yield frame
            data = data[used:]
            if last:
                break
        if len(data) > limits.line_bytes:
            raise BeyondLimit(
                f"line {line} is longer than {limits.line_bytes >> 20} MiB",
                remedy="end each record with a line end, or look for the wrong separator of lines",
            )
        rest = data
        if final:
            return


def _piece(data: bytes, returns: bool, lines: int) -> bytes:
    """``data``, or its first lines where it holds very many."""
    count = data.count(b"\n") + (data.count(b"\r") if returns else 0)
    if count <= lines:
        return data
    block = np.frombuffer(data, dtype=np.uint8)
    ends = _line_ends(block, returns, False)
    return data[: int(ends[lines - 1]) + 1] if len(ends) > lines else data
