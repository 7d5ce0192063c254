"""Writes one consolidated table of a hospital: the landed rows that are current, by patient, with standard codes and what several records say
together.

What a column's texts become is looked up once per text; what is said of single records (flags, ends of stays) comes as a relation of a few rows,
placed by the records' identities. Nothing is joined record by record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from estuaire.contract.layer_columns import LayerColumn, consolidated_columns, landed_columns
from estuaire.contract.tables import Table
from estuaire.kernel import layer_file
from estuaire.kernel.layer_file import LandedFiles
from estuaire.kernel.texts import renamed

ROWS_AT_ONCE = 8 * layer_file.ROWS_OF_GROUP  # held in memory, twice
Positions = npt.NDArray[np.int64]
_UID = ("row_uid_hi", "row_uid_lo")


@dataclass(frozen=True)
class Said:
    """What consolidation says of a table's records; relations bear ``row_uid_hi`` and ``row_uid_lo`` (grain: one row per record that they say
    something of).

    Attributes:
        gone: records that are not current.
        stale: current records of which a newer version is set aside.
        of_records: relations whose other columns are columns of the consolidated table.
        codes: column of codes -> local code -> standard code.
        survivors: former local id of a patient -> the id that its records bear now.
    """

    gone: pa.Table
    stale: pa.Table
    of_records: tuple[pa.Table, ...] = ()
    codes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    survivors: Mapping[str, str] = field(default_factory=dict)


class _Records:
    """The landed records of a table, numbered through its files."""

    def __init__(self, uids: pa.Table) -> None:
        self._hi, self._lo = (uids[name].to_numpy() for name in _UID)
        self._by_hi: Positions | None = None

    def of(self, relation: pa.Table) -> Positions:
        """Where the records of a relation stand."""
        hi, lo = (relation[name].to_numpy() for name in _UID)
        if not len(hi):
            return np.zeros(0, np.int64)
        if self._by_hi is None:
            self._by_hi = np.argsort(self._hi, kind="stable")
        ordered = self._hi[self._by_hi]
        begin, end = (np.searchsorted(ordered, hi, side=side) for side in ("left", "right"))  # type: ignore[call-overload]
        places: Positions = self._by_hi[begin]
        for i in np.flatnonzero(end - begin > 1):  # the halves of two files' records may be the same, the whole is not
            same = self._by_hi[begin[i] : end[i]]
            places[i] = same[self._lo[same] == lo[i]][0]
        return places


def _by_text(column: pa.Array, survivors: Mapping[str, str], current: npt.NDArray[np.bool_]) -> Positions:
    """Positions of the current records in the order of a column's texts, and within one text in that of the files."""
    encoded = _renamed(column, survivors) if survivors else _encoded(column)
    ranks = np.empty(len(encoded.dictionary) + 1, np.int32)
    ranks[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(encoded.dictionary), dtype=np.int32)
    ranks[-1] = len(encoded.dictionary)  # of nobody: last
    rank = ranks[encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()]
    positions = np.flatnonzero(current)
    ordered: Positions = positions[np.argsort(rank[positions], kind="stable")]
    return ordered


def _encoded(column: pa.Array) -> pa.DictionaryArray:
    if pa.types.is_dictionary(column.type):
        return column
    return (column if pa.types.is_string(column.type) else column.cast(pa.string())).dictionary_encode()


def _renamed(column: pa.Array, names: Mapping[str, str], *, others: bool = True) -> pa.DictionaryArray:
    """A text column by other names; a text that has none keeps its own, or is null where ``others`` is false."""
    encoded = _encoded(column)
    texts = encoded.dictionary.to_pylist()
    return renamed(encoded.indices, pa.array([names.get(t, t if others else None) for t in texts], pa.string()))


def _one(data: pa.Table, name: str) -> pa.Array:
    return data[name].combine_chunks()


class _Consolidated:
    """The consolidated columns of a table's records, made of the landed ones."""

    def __init__(self, table: Table, files: LandedFiles, said: Said, rows_at_once: int) -> None:
        self._files, self._said, self.rows = files, said, files.rows
        self._landed = {column.name: column for column in landed_columns(table)}
        self._columns = consolidated_columns(table)
        self._whole = self._read() if self.rows <= rows_at_once else None
        records = _Records(self._only(*_UID))
        current = np.ones(self.rows, bool)
        current[records.of(said.gone)] = False
        self._stale = np.zeros(self.rows, bool)
        self._stale[records.of(said.stale)] = True
        self._told: dict[str, tuple[pa.Array, Positions]] = {}
        for relation in said.of_records:
            places = np.full(self.rows, -1, np.int64)
            places[records.of(relation)] = np.arange(relation.num_rows)
            self._told |= {name: (_one(relation, name), places) for name in relation.column_names if name not in _UID}
        self._moved = said.survivors if "patient_id" in self._landed and table.name != "patient" else {}
        by = "patient_id" if "patient_id" in self._landed else table.key[0]
        self.ordered = _by_text(_one(self._only(by), by), self._moved, current)

    def _only(self, *names: str) -> pa.Table:
        return self._files.read([self._landed[n] for n in names]) if self._whole is None else self._whole.select(names)

    def _source(self, column: LayerColumn) -> str | None:
        """The landed column that one is made of."""
        of_code = column.name.removesuffix("_source")
        return next((name for name in (column.name, of_code) if name in self._landed), None)

    def _read(self, chosen: npt.NDArray[np.bool_] | None = None) -> pa.Table:
        """The landed columns that are needed, of all records or of some."""
        sources = {self._source(column) for column in self._columns}
        return self._files.read([column for name, column in self._landed.items() if name in sources], chosen)

    def read(self, positions: Positions) -> pa.Table:
        """The consolidated columns of the records at these positions, in their order."""
        if self._whole is not None:
            landed = self._whole.take(pa.array(positions))
        else:
            chosen = np.zeros(self.rows, bool)
            chosen[positions] = True
            landed = self._read(chosen).take(pa.array(np.cumsum(chosen, dtype=np.int64)[positions] - 1))
        return pa.table(
            [self._column(c, landed, positions) for c in self._columns], names=[c.name for c in self._columns]
        )

    def _column(self, column: LayerColumn, landed: pa.Table, positions: Positions) -> pa.Array:
        name, said = column.name, self._said
        if name == "stale_correction":
            return pa.array(self._stale[positions])
        if name == "merged_into":
            return _renamed(_one(landed, "patient_id"), said.survivors, others=False)
        if name == "patient_id" and self._moved:
            return _renamed(_one(landed, name), self._moved)
        if name in said.codes:
            return _renamed(_one(landed, name), said.codes[name], others=False)
        if name == "draw_id":  # of what nothing is said: the first of its draw is itself
            return pc.coalesce(self._said_of(column, positions), _one(landed, "specimen_id").cast(pa.string()))
        source = self._source(column)
        if name in self._told or source is None:
            return self._said_of(column, positions)
        return _one(landed, source)

    def _said_of(self, column: LayerColumn, positions: Positions) -> pa.Array:
        """What a relation says of the records at these positions, null where it says nothing."""
        if column.name not in self._told:
            return pa.nulls(len(positions), layer_file.type_of(column))
        values, places = self._told[column.name]
        return values.take(pa.array(places[positions], mask=places[positions] < 0))


def write(output: Path, table: Table, files: LandedFiles, said: Said, *, rows_at_once: int = ROWS_AT_ONCE) -> None:
    """Write the consolidated file of a table.

    Args:
        rows_at_once: how many rows are held in memory; the rows of the file are the same whatever it is.
    """
    made = _Consolidated(table, files, said, rows_at_once)
    writer = None
    try:
        for start in range(0, max(len(made.ordered), 1), rows_at_once):
            data = made.read(made.ordered[start : start + rows_at_once])
            writer = writer or layer_file.writer(output, data.schema)
            for group in range(0, data.num_rows, layer_file.ROWS_OF_GROUP):
                part = layer_file.compact(data.slice(group, layer_file.ROWS_OF_GROUP))
                writer.write_table(part.cast(writer.schema), row_group_size=layer_file.ROWS_OF_GROUP)
    finally:
        if writer is not None:
            writer.close()
