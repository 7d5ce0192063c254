"""Framing: each record gets its number, line and byte range; damage costs the line that it stands on."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest
from framed import Framed, frame
from hypothesis import assume, given
from hypothesis import strategies as st

from estuaire.base.errors import BeyondLimit
from estuaire.kernel import framing
from estuaire.kernel.framing import BLOCK_BYTES, MAX_RECORD_BYTES
from estuaire.kernel.limits import Limits

# ------------------------------------------------------------------------------------------------ one file each


def test_a_stray_quote_in_a_large_file_loses_one_record_and_its_line_is_named() -> None:
    rows = [b"%d;label %d\n" % (i, i) for i in range(1, 200_001)]
    rows[49_999] = b'50000;lab"el 50000\n'
    framed = frame(b"".join(rows))
    assert len(framed.sound) == 199_999
    assert framed.reasons == [(50_001, "quote")]  # the header is line 1
    assert framed.hurt[0].number == 50_000
    assert [r.number for r in framed.sound] == [n for n in range(1, 200_001) if n != 50_000]
    assert framed.clean == b"".join(rows[:49_999] + rows[50_000:])


@pytest.mark.parametrize(
    "quoted_later", [b"", b'60000;"quoted; label"\n'], ids=["no other quote", "another quoted field"]
)
def test_a_quote_that_opens_a_field_and_never_closes_loses_one_record(quoted_later: bytes) -> None:
    rows = [b"%d;label\n" % i for i in range(1, 100_001)]
    rows[49_999] = b'50000;"label\n'
    rows[59_999] = quoted_later or rows[59_999]
    framed = frame(b"".join(rows))
    assert framed.reasons == [(50_001, "quote")]
    assert len(framed.sound) == 99_999


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each look at a block, as framing takes them."""
    found: list[int] = []
    cut = framing._cut

    def counted(block: Any, *arguments: Any) -> Any:
        found.append(len(block))
        return cut(block, *arguments)

    monkeypatch.setattr(framing, "_cut", counted)
    return found


def test_a_stray_quote_in_every_record_costs_no_look_at_the_whole_block(looked: list[int]) -> None:
    """It did, and took minutes (`python -m tests.benchmarks bombs` has the seconds)."""
    body = b'1;said "no" twice\n' * 40_000
    framed = frame(body)
    assert len(framed.hurt) == 40_000
    assert sum(looked) <= 4 * len(body)


def test_a_newline_inside_quotes_belongs_to_its_record() -> None:
    framed = frame(b'1;"two\nlines"\n2;x\n3;"a\n\nb"\n4;y\n')
    assert [(r.number, r.line) for r in framed.sound] == [(1, 2), (2, 4), (3, 5), (4, 8)]
    assert framed.texts[0] == '1;"two\nlines"'
    assert not framed.hurt


def test_escaped_quotes_quoted_delimiters_and_empty_quoted_fields_are_sound() -> None:
    texts = ['1;"say ""DCI"""', '2;"a;b;c"', '3;""', '"4";""""', '"";""', '5;"""x"""']
    framed = frame("".join(t + "\n" for t in texts).encode())
    assert framed.texts == texts
    assert not framed.hurt


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_blank_lines_are_no_records_but_count_as_lines(end: bytes) -> None:
    framed = frame(end.join([b"1;a", b"", b"", b"2;b", b"", b'3;"c"', b""]), header=b"a;b" + end)
    assert [(r.number, r.line, r.text) for r in framed.sound] == [(1, 2, "1;a"), (2, 5, "2;b"), (3, 7, '3;"c"')]
    assert not framed.hurt


def test_the_last_record_needs_no_line_end() -> None:
    assert frame(b"1;a\n2;b").texts == ["1;a", "2;b"]
    assert frame(b'1;a\r\n2;"b"').texts == ["1;a", '2;"b"']
    assert frame(b"").texts == []


def test_a_lone_carriage_return_damages_its_record_unless_quoted() -> None:
    framed = frame(b'1;a\rb\n2;"a\rb"\n3;c\n')
    assert framed.reasons == [(2, "fields")]
    assert framed.texts == ['2;"a\rb"', "3;c"]


def test_a_nul_damages_its_record_alone() -> None:
    framed = frame(b'1;a\n2;b\x00\n3;c\n4;"d\x00\ne"\n5;f\n')
    assert framed.reasons == [(3, "nul"), (5, "nul")]
    assert framed.texts == ["1;a", "3;c", "5;f"]


@pytest.mark.parametrize(
    ("encoding", "bad"), [("utf-8", b"\xe9"), ("utf-8", b"\xc3"), ("utf-8-sig", b"\xff"), ("cp1252", b"\x81")]
)
def test_a_byte_that_the_encoding_does_not_know_damages_its_record_alone(encoding: str, bad: bytes) -> None:
    good = "é".encode(encoding.removesuffix("-sig"))
    framed = frame(b"1;" + good + b"\n2;x" + bad + b"y\n3;" + good + b"\n4;" + bad + b"\n5;z\n", encoding=encoding)
    assert framed.reasons == [(3, "encoding"), (5, "encoding")]
    assert framed.texts == ["1;é", "3;é", "5;z"]
    assert framed.clean == "1;é\n3;é\n5;z\n".encode()


def test_a_byte_order_mark_inside_the_file_does_not_move_the_damage() -> None:
    framed = frame(b"\xef\xbb\xbf1;a\n2;b\n\xff;c\n4;d\n", encoding="utf-8-sig")
    assert framed.reasons == [(4, "encoding")]
    assert [r.number for r in framed.sound] == [1, 2, 4]


def test_clean_records_are_utf8_whatever_the_encoding() -> None:
    assert frame("1;œuf à 5 €\n".encode("cp1252"), encoding="cp1252").clean == "1;œuf à 5 €\n".encode()
    assert frame("1;œuf à 5 €\n".encode("iso8859-15"), encoding="iso8859-15").clean == "1;œuf à 5 €\n".encode()


def test_a_record_with_another_number_of_fields_is_damaged() -> None:
    framed = frame(b"1;a;b\n2;b\n3\n;\n5;x\n")
    assert framed.reasons == [(2, "fields"), (4, "fields")]
    assert framed.texts == ["2;b", ";", "5;x"]


def test_an_unclosed_quote_at_the_end_loses_one_record() -> None:
    framed = frame(b'1;a\n2;"b\n3;c\n4;d')
    assert framed.reasons == [(3, "quote")]
    assert framed.texts == ["1;a", "3;c", "4;d"]


def test_a_quoted_field_longer_than_a_record_may_be_is_a_stray_quote() -> None:
    line = b"x" * 998 + b";\n"
    long = b'1;"' + line * (MAX_RECORD_BYTES // 1000 + 10) + b'"\n2;b\n'
    framed = frame(long, fields=2)
    assert framed.hurt[0].line == 2
    assert framed.texts[-1] == "2;b"


def test_a_quote_that_finds_a_partner_on_another_whole_line_is_no_record() -> None:
    """Both lines are whole by themselves: the quote of the first is a stray one, and the second begins a record of its own."""
    framed = frame(b'1;"a\n2;"\ntail"\n3;c\n')
    assert framed.texts == ['2;"\ntail"', "3;c"]
    assert framed.reasons == [(2, "quote")]


_WHOLE = b"2;78;901;x;g\n"


@pytest.mark.parametrize(
    ("body", "kept", "hurt"),
    [
        (b'1;77;900;"lost;g\n' + _WHOLE + b'3;79;902;tube 5";g\n' + _WHOLE, 2, [2, 4]),
        (b'1;77;900;"lost;g\n' + _WHOLE * 50 + b'3;79;902;tube 5";g\n', 50, [2, 53]),
        (b'1;77;900;"lost;g\n3;79;902;tube 5";g\n' + _WHOLE, 1, [2, 3]),
        (b'1;77;900;"lost;g\n\n' + _WHOLE + b'\n3;79;902;tube 5";g\n', 1, [2, 6]),
        (b'1;77;900;"lost;g\n' + _WHOLE + b'2;78;901;"x;y";g\n3;79;902;tube 5";g\n', 2, [2, 5]),
        (b'1;77;900;"lost;g\n' + _WHOLE * 2 + b'short;line\n3;79;902;tube 5";g\n', 2, [2, 5, 6]),
        (b'"1;77;900;x;g\n' + _WHOLE + b'3;79;902;y;g"\n', 1, [2, 4]),
    ],
    ids=[
        "case C11",
        "far apart",
        "neighbours",
        "blank lines",
        "a quoted field between",
        "a damaged line between",
        "whole lines quoted",
    ],
)
@pytest.mark.parametrize("block", [7, 64, BLOCK_BYTES])
def test_two_stray_quotes_make_no_record_of_what_lies_between(
    body: bytes, kept: int, hurt: list[int], block: int
) -> None:
    framed = frame(body, fields=5, block_bytes=block)
    assert len(framed.sound) == kept
    assert [line for line, _ in framed.reasons] == hurt
    assert framed.doubtful == 0


@pytest.mark.parametrize(
    "record",
    [
        '1;77;900;"first line\nsecond line\nthird";g',
        '1;77;900;g;"last column\nof the record"',
        '"first column\nof the record";77;900;g;x',
        '1;77;900;"said ""no""\n\nafter a blank line";g',
        '1;"a\nb";900;"c\nd";g',
        '1;77;900;"a list: x; y\nand more";g',
        '1;77;900;"one line of the text has four: a;b;c;d;e\nno other\nhas\nany";g',
    ],
)
def test_text_of_several_lines_is_still_one_record(record: str) -> None:
    framed = frame((record + "\n2;78;901;x;g\n").encode(), fields=5)
    assert (framed.texts, framed.reasons) == ([record, "2;78;901;x;g"], [])


def test_a_record_that_two_stray_quotes_might_have_made_is_counted_as_doubtful() -> None:
    """Its last line is a whole record if its quote is a stray one; its first, cut short, is none: no reader can tell."""
    framed = frame(b'1;77;"lost\n79;902;tube 5";g\n2;78;901;x\n', fields=4)
    assert len(framed.sound) == 2
    assert framed.doubtful == 1


def test_framing_looks_at_each_byte_a_bounded_number_of_times(looked: list[int]) -> None:
    """A megabyte of stray quotes took 217 s, and the time grew with the square of the size."""
    for body in (b'"\n', b'1;"\n', b'"";"\n', b'1;"a";"\n', b'x"\n', b"a;b\r"):
        looked.clear()
        whole = body * ((1 << 20) // len(body))
        framed = list(framing.frames(io.BytesIO(whole), delimiter=";", fields=2, encoding="utf-8", first_offset=0))
        assert sum(len(f.record_number) + len(f.damaged.reason) for f in framed) > 0
        assert sum(looked) <= 4 * len(whole), body


def test_a_block_of_very_short_lines_is_framed_in_parts() -> None:
    limits = Limits(block_lines=1000)
    parts = list(
        framing.frames(
            io.BytesIO(b"1;2\n" * 5500), delimiter=";", fields=2, encoding="utf-8", first_offset=0, limits=limits
        )
    )
    assert [len(p.record_number) for p in parts if len(p.record_number)] == [1000] * 5 + [500]
    assert np.concatenate([p.line_number for p in parts]).tolist() == list(range(2, 5502))


def test_a_line_without_end_is_refused() -> None:
    limits = Limits(line_bytes=1 << 16)
    with pytest.raises(BeyondLimit, match="line 3 is longer"):
        for _ in framing.frames(
            io.BytesIO(b"1;2\n" + b"x" * (1 << 18)),
            delimiter=";", fields=2, encoding="utf-8", first_offset=0, limits=limits, block_bytes=1 << 14,
        ):  # fmt: skip
            pass


# ------------------------------------------------------------------------------------------------ carriage returns


@pytest.mark.parametrize("block", [1, 5, BLOCK_BYTES])
def test_carriage_returns_end_the_lines_of_a_file_whose_header_one_ends(block: int) -> None:
    body = b'1;a\r2;"two\rlines"\r\r3;b\r4;x"y\r5;c\r\n6;d\n7;e'
    framed = frame(body, header=b"a;b\r", returns=True, block_bytes=block)
    assert [(r.number, r.line) for r in framed.sound] == [(1, 2), (2, 3), (3, 6), (5, 8), (6, 9), (7, 10)]
    assert framed.texts[1] == '2;"two\rlines"'
    assert framed.reasons == [(7, "quote")]


def test_a_carriage_return_ends_a_line_elsewhere_where_each_part_is_a_record() -> None:
    framed = frame(b'1;a\r2;"b"\n3;c\r\r\n4;d\r5\n6;e\r7;f')
    assert framed.texts == ["1;a", '2;"b"', "3;c", "6;e", "7;f"]
    assert framed.reasons == [(4, "fields")]
    assert framed.clean == b'1;a\r2;"b"\n3;c\r6;e\r7;f\n'


def test_a_partner_that_gives_the_wrong_number_of_fields_is_no_partner() -> None:
    framed = frame(b'1;"a;x\n2;b;y\n3;"\ntail";z\n', fields=3)
    assert framed.reasons == [(2, "quote")]
    assert framed.texts == ["2;b;y", '3;"\ntail";z']


# ------------------------------------------------------------------------------------------------ properties

_PIECES = st.sampled_from(['"', '""', ";", "\n", "\r\n", "\r", "a", "b;c", "é", "\x00", ' "', '";"', "x\n1;2\n"])
_MESS = st.lists(_PIECES, max_size=40).map("".join).map(lambda t: t.encode())


@given(body=_MESS, block=st.integers(1, 40), fields=st.integers(1, 3))
def test_the_block_size_never_changes_the_result(body: bytes, block: int, fields: int) -> None:
    for returns in (False, True):
        parts = frame(body, fields=fields, block_bytes=block, returns=returns)
        assert parts == frame(body, fields=fields, returns=returns)


@given(
    body=_MESS, bad=st.sampled_from([b"", b"\xff", b"\xef\xbb\xbf"]), encoding=st.sampled_from(["utf-8-sig", "cp1252"])
)
def test_every_byte_belongs_to_one_record_or_to_a_blank_line(body: bytes, bad: bytes, encoding: str) -> None:
    body += bad
    framed = frame(body, encoding=encoding, header=b"")
    covered = bytearray(len(body) + 1)
    records = [(r.offset, r.length) for r in (*framed.sound, *framed.hurt)]
    for offset, length in records:
        assert length > 0
        assert not any(covered[offset : offset + length]), "two records share a byte"
        covered[offset : offset + length] = b"\x01" * length
    left = bytes(b for b, c in zip(body, covered, strict=False) if not c)
    assert left.strip(b"\r\n") == b""
    numbers = sorted(r.number for r in (*framed.sound, *framed.hurt))
    assert numbers == list(range(1, len(records) + 1))


_VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8) | st.sampled_from(
    ['"', '""', "a;b", "\n", "\r\n", "\r", "x\ny", '";"', "", '"\n"']
)


@given(
    rows=st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(_VALUE, min_size=n, max_size=n), min_size=1, max_size=8)
    ),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    delimiter=st.sampled_from([";", ",", "|", "\t"]),
)
def test_what_pythons_csv_writes_is_framed_to_what_pythons_csv_reads(
    rows: list[list[str]], end: str, quoting: int, delimiter: str
) -> None:
    if end == "\n" and any("\r" in value for row in rows for value in row):
        quoting = csv.QUOTE_ALL  # Python's writer leaves a lone carriage return bare otherwise: not well formed
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    lines = []
    for row in rows:
        lines.append(2 + buffer.getvalue().count("\n"))
        writer.writerow(row)
    framed = frame(buffer.getvalue().encode(), fields=len(rows[0]), delimiter=delimiter)
    # a text of which lines look like whole records cannot be told from two stray quotes
    assume(
        len(rows[0]) == 1
        or not any(delimiter in value for row in rows for value in row if "\n" in value or "\r" in value)
    )
    assert not framed.hurt
    assert [r.line for r in framed.sound] == lines
    read = list(csv.reader(io.StringIO(framed.clean.decode(), newline=""), delimiter=delimiter))
    assert read == list(csv.reader(io.StringIO(buffer.getvalue(), newline=""), delimiter=delimiter)) == rows


def _written(rows: list[list[str]]) -> list[bytes]:
    """Each row as Python's csv writes it, without its line end."""
    found = []
    for row in rows:
        buffer = io.StringIO(newline="")
        csv.writer(buffer, delimiter=";", lineterminator="\n").writerow(row)
        found.append(buffer.getvalue()[:-1].encode())
    return found


_TELLING = _VALUE.filter(lambda v: v.lstrip('"')[:1] not in (";", "\n", "\r") and not (v and not v.strip('"')))
_DAMAGE = st.lists(
    st.sampled_from([b'"', b'""', b";", b"a", b"\x00", b"\xff", b"\r", b"\n", b'";"', b'"\n']), max_size=12
).map(b"".join)


@given(
    rows=st.lists(st.lists(_TELLING, min_size=3, max_size=3), min_size=2, max_size=6),
    damage=_DAMAGE,
    data=st.data(),
)
def test_damaging_one_record_never_loses_another(rows: list[list[str]], damage: bytes, data: st.DataObject) -> None:
    """Whatever bytes replace one record, line ends among them, every other record comes out unchanged.

    It holds as long as no quoted field begins with a delimiter or a line end (its own escaped quotes aside): an unbalanced quote
    betrays itself at the next field that opens with a quote, for a closing quote must be followed by one of these.
    """
    written = _written([[f"r{i}{row[0]}", *row[1:]] for i, row in enumerate(rows)])
    hit = data.draw(st.integers(0, len(rows) - 1))
    before = b"".join(w + b"\n" for w in written[:hit])
    after = b"".join(w + b"\n" for w in written[hit + 1 :])
    framed = frame(before + damage + b"\n" + after, fields=3, header=b"")
    whole = _places(frame(before + written[hit] + b"\n" + after, fields=3, header=b""))
    others = {
        (offset if offset < len(before) else offset - len(written[hit]) + len(damage), text)
        for offset, text in whole
        if offset != len(before)
    }
    assert others <= _places(framed)
    # and what is gained beside them stands on the damaged lines alone
    strangers = _places(framed) - others
    assert all(len(before) <= offset <= len(before) + len(damage) for offset, _ in strangers)


def _places(framed: Framed) -> set[tuple[int, str]]:
    return {(r.offset, r.text) for r in framed.sound}
