"""Finds national numbers (NIR, INS) that stand in plain columns, where nothing would replace them: they must not leave landing/.

Shape (INSEE): sex, year, month, department (Corsica 2A, 2B), commune, order, 13 characters, and a key of two digits, 97 - (number mod
97); spaces, dots and hyphens may stand between. The key makes another number of 15 digits pass once in 97 times: docs/domain/deliveries.md
says what that costs a hospital whose own numbers look so.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from estuaire.contract.tables import Column, Table
from estuaire.kernel.identity import nir_is_valid

_CHARACTERS = 15
_BETWEEN = "[\\s.\u00a0\u2007\u202f\u200b\u200c\u200d\u2060\ufeff\u2010\u2011\u2013-]{0,2}"
# cheap, for RE2, which knows no lookaround: fifteen digits or Corsica's letters
_LIKE_ONE = rf"[1-478](?:{_BETWEEN}[0-9ABab]){{14}}"
_PARTS = (
    "[1-478]", "[0-9]", "[0-9]", "(?:0{b}[1-9]|1{b}[0-2]|2{b}0|3{b}[0-9]|4{b}[0-2]|[5-9]{b}[0-9])",
    "(?:[0-9]{b}[0-9]|2{b}[ABab])", *["[0-9]"] * 8,
)  # fmt: skip
# overlapping ones too: the first of two may be a number that only looks like one
_ONE = re.compile(rf"(?<![0-9])(?=({_BETWEEN.join(part.replace('{b}', _BETWEEN) for part in _PARTS)})(?![0-9]))")
_SPACES = re.compile(_BETWEEN.removesuffix("{0,2}"))


def scanned(table: Table) -> list[Column]:
    """Columns whose delivered text goes on as it is, or as a number: no pseudonym, no date."""
    return [c for c in table.columns if c.pseudonym is None and c.type not in ("date", "datetime")]


def rule(table: Table, column: str) -> str:
    """Id of the rule that sets a record apart."""
    return f"{table.name}.{column}.national_id"


def holds_one(text: str) -> bool:
    """Whether a text holds a national number with its right key."""
    return any(nir_is_valid(_SPACES.sub("", candidate).upper()) for candidate in _ONE.findall(text))


def leaks(text: pa.Table, table: Table) -> dict[str, npt.NDArray[np.bool_]]:
    """Per plain column of a block the rows whose text holds a national number; columns without one are left out."""
    rows_by_column = {}
    for column in scanned(table):
        if column.name in text.column_names:
            hits = _hits(text[column.name].combine_chunks())
            if hits is not None:
                rows_by_column[column.name] = hits
    return rows_by_column


def _hits(values: pa.Array) -> npt.NDArray[np.bool_] | None:
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], pa.string())
    of_dictionary = pa.types.is_dictionary(values.type)
    longest: Any = pc.max(pc.binary_length(values.dictionary if of_dictionary else values)).as_py()
    if longest is None or longest < _CHARACTERS:
        return None
    coded = values if of_dictionary else pc.dictionary_encode(values)  # labels repeat: each text is looked at once
    like = np.flatnonzero(pc.match_substring_regex(coded.dictionary, _LIKE_ONE).to_numpy(zero_copy_only=False))
    held = [i for i in like.tolist() if holds_one(coded.dictionary[i].as_py())]
    if not held:
        return None
    mask: npt.NDArray[np.bool_] = pc.is_in(coded.indices, pa.array(held, pa.int32())).to_numpy(zero_copy_only=False)
    return mask
