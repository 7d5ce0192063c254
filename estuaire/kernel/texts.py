"""Delivered texts in their normal form (``estuaire.base.normal_text``), column by column of a block; a column of plain ASCII costs one look at its
bytes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from estuaire.base.normal_text import SPREADSHEET_MARKS, one_line, plain, spoilt_pattern
from estuaire.contract.tables import UPDATED_COLUMN, Column, Table

_SPACE, _DELETE = 0x20, 0x7F
_SAMPLE = 1_000  # texts that tell whether a column's texts repeat
_CONTROL = r"[\x00-\x1f\x7f]"


def _bytes_of(values: pa.StringArray) -> memoryview:
    """The bytes of all values of a text column, one after the other."""
    _, offsets, data = values.buffers()
    if data is None or not len(values):
        return memoryview(b"")
    ends = np.frombuffer(offsets, np.int32, count=len(values) + 1, offset=4 * values.offset)
    return memoryview(data)[int(ends[0]) : int(ends[-1])]


def repeated(values: pa.Array) -> pa.Array:
    """A text column as a dictionary where its texts repeat, else as it is."""
    rows = len(values)
    if rows > 2 * _SAMPLE:
        again = _SAMPLE - len(values.slice(0, _SAMPLE).unique())
        if again * rows < _SAMPLE * _SAMPLE:  # of so many texts, drawn at random, so few would be the same
            return values
    encoded = values.dictionary_encode()
    return encoded if 2 * len(encoded.dictionary) <= rows else values


def each(change: Callable[[pa.StringArray], pa.StringArray], values: pa.Array) -> pa.Array:
    """Texts changed one by one; of a dictionary each once. What does not change is given back as it is."""
    if not pa.types.is_dictionary(values.type):
        return change(values)
    texts = change(values.dictionary)
    return values if texts is values.dictionary else renamed(values.indices, texts)


def renamed(indices: pa.Array, texts: pa.StringArray) -> pa.DictionaryArray:
    """The dictionary whose entries became ``texts``: of several that became the same, one stays; what became null is."""
    kept = texts.dictionary_encode()
    return pa.DictionaryArray.from_arrays(kept.indices.take(indices), kept.dictionary)


def _cleaned(values: pa.StringArray, null_values: Collection[str], *, label: bool) -> pa.StringArray:
    data = np.frombuffer(_bytes_of(values), np.uint8)
    if not len(data) or (data.min() >= _SPACE and data.max() < _DELETE):
        return values
    mask = pc.invert(pc.string_is_ascii(values))
    if data.min() < _SPACE or (data == _DELETE).any():
        mask = pc.or_(mask, pc.match_substring_regex(values, _CONTROL))
    mask = pc.fill_null(mask, False)
    coded = pc.dictionary_encode(values.filter(mask))
    before: list[str] = coded.dictionary.to_pylist()
    clean = plain if label else one_line
    after = [None if (text := clean(b)) in null_values else text for b in before]
    if after == before:
        return values
    return pc.replace_with_mask(values, mask, pa.array(after, pa.string()).take(coded.indices))


def clean(raw: pa.Table, table: Table, null_values: Collection[str]) -> pa.Table:
    """The text columns of a block in their normal form, as dictionaries where texts repeat; what then stands for nothing is null."""
    times = {UPDATED_COLUMN, *(c.name for c in table.columns if c.type == "datetime")}
    labels = {
        c.name for c in table.columns if c.type == "string" and c.pseudonym is None and c not in identifiers(table)
    }
    for i, name in enumerate(raw.column_names):
        values = raw[name].combine_chunks()
        known = values if name in times else repeated(values)
        cleaned = each(partial(_cleaned, null_values=null_values, label=name in labels), known)
        if cleaned is not values:
            raw = raw.set_column(i, name, cleaned)
    return raw


def identifiers(table: Table) -> tuple[Column, ...]:
    """Columns that name a person, a stay or a record: keys, references, and what becomes a pseudonym (those that bear a key of their own
    aside: it tells what is wrong)."""
    naming = {*table.key, *(name for r in table.references for name in r.columns)}
    return tuple(
        c
        for c in table.columns
        if (c.pseudonym is not None and c.pseudonym.check is None)
        or (c.name in naming and c.pseudonym is None and c.type in ("string", "code"))
    )


def spoilt(values: pa.Array) -> pa.BooleanArray | None:
    """Which identifiers of a block a spreadsheet destroyed; None where none can be."""
    if pa.types.is_dictionary(values.type):
        of_texts = spoilt(values.dictionary)
        return None if of_texts is None else pc.fill_null(of_texts.take(values.indices), False)
    data = bytes(_bytes_of(values))
    if not any(mark in data for mark in SPREADSHEET_MARKS):
        return None
    mask: Any = pc.fill_null(pc.match_substring_regex(values, spoilt_pattern()), False)
    return mask
