"""The normal form of delivered texts, over every code point that any version of Unicode assigns: one function, and no engine that sees a text
otherwise."""

from __future__ import annotations

import sys
import unicodedata

import duckdb
import pyarrow as pa
import pytest

from estuaire.base.normal_text import compared, one_line, plain
from estuaire.kernel.texts import _cleaned

# Planes 4 to 13 are empty in every version of Unicode, 15 and 16 private use throughout: their edges stand for them. Of the others all, assigned
# or not: an engine's tables may be of a newer version than Python's.
WHOLE = (range(0x3_4000), range(0xE_0000, 0xE_1000))
EDGES = [range(start + at, start + at + 64) for start in range(0, sys.maxunicode, 0x1_0000) for at in (0, 0xFFC0)]
POINTS = [chr(p) for p in sorted({p for points in (*WHOLE, *EDGES) for p in points}) if not 0xD800 <= p <= 0xDFFF]


def test_the_normal_form_of_a_normal_form_is_itself() -> None:
    for c in POINTS:
        for normal in (plain, one_line, compared):
            text = normal(f"{c}a{c}b{c}")
            assert normal(text) == text, hex(ord(c))


@pytest.mark.thorough
def test_the_kernel_writes_what_the_function_says_for_every_code_point() -> None:
    texts = [f"{c}e{c}\u0301x{c}" for c in POINTS]
    for label, normal in ((True, plain), (False, one_line)):
        assert _cleaned(pa.array(texts), (), label=label).to_pylist() == [normal(t) for t in texts]


def test_duckdb_neither_trims_nor_merges_what_the_kernel_wrote() -> None:
    texts = pa.table({"t": list({one_line(f"{c}e{c}") for c in POINTS})})
    with duckdb.connect() as connection:
        connection.register("texts", texts)
        row = connection.execute("select count(*), count(distinct t), count(*) filter (where trim(t) <> t) from texts")
        assert row.fetchone() == (texts.num_rows, texts.num_rows, 0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Straße", "STRASSE"),
        ("définitif", "de\u0301FINITIF"),
        ("E.\u00a0coli", "e. COLI\t"),
        ("\ufeffSCN", "scn"),
        ("ŉ", "ʼn"),
    ],
)
def test_two_spellings_of_a_code_are_one(one: str, other: str) -> None:
    assert compared(one) == compared(other)


def test_nothing_that_is_seen_is_dropped() -> None:
    seen = [c for c in POINTS if unicodedata.category(c)[0] in "LNPS" and plain(c) == ""]
    assert {unicodedata.name(c) for c in seen} == {
        "HANGUL CHOSEONG FILLER", "HANGUL JUNGSEONG FILLER", "HANGUL FILLER", "HALFWIDTH HANGUL FILLER"
    }  # fmt: skip
