"""The lake's own Parquet files, landed and consolidated: how they are written, and how landed ones are read as one table.

In a landed file texts that repeat are dictionaries, and they stay so from one file to the next: what is asked of a text is asked once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from estuaire.contract.layer_columns import LayerColumn

ROWS_OF_GROUP = 122_880  # DuckDB's own: what a reader may skip, and one of its threads takes
# numbers and times that are the same for all records of a file
_CONSTANT = ("sequence", "latest_at", "latest_day")
_TYPES = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "DECIMAL(18,6)": pa.decimal128(18, 6),
    "DATE": pa.date32(),
    "TIMESTAMPTZ": pa.timestamp("us", tz="UTC"),
    "TIMESTAMP": pa.timestamp("us"),
    "BOOLEAN": pa.bool_(),
}


def type_of(column: LayerColumn) -> pa.DataType:
    """A layer's column in memory; a text may be a dictionary of this type."""
    return _TYPES[column.duckdb]


def writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A landed file. As dictionaries are written those that are in memory, and what a file's records have in common: to look for
    repetitions in an identifier or a time costs more than all else, and finds none."""
    repeating = [f.name for f in schema if pa.types.is_dictionary(f.type) or f.name in _CONSTANT]
    path.parent.mkdir(parents=True, exist_ok=True)
    return pq.ParquetWriter(
        path, schema, compression="zstd", compression_level=1, store_decimal_as_integer=True, use_dictionary=repeating
    )


def compact(data: pa.Table) -> pa.Table:
    """Dictionaries without the texts that no row bears: of a record that is set apart no text is written."""
    for i, kind in enumerate(data.schema.types):
        if not pa.types.is_dictionary(kind):
            continue
        column = data.column(i).combine_chunks()
        borne = np.zeros(len(column.dictionary), bool)
        borne[column.indices.drop_null().to_numpy()] = True
        if not borne.all():
            places = pa.array(np.cumsum(borne, dtype=np.int32) - np.int32(1))
            kept = pa.DictionaryArray.from_arrays(
                places.take(column.indices), column.dictionary.filter(pa.array(borne))
            )
            data = data.set_column(i, data.field(i).name, kept)
    return data


@dataclass(frozen=True)
class _File:
    path: str
    footer: pq.FileMetaData
    columns: frozenset[str]
    first: int  # of its rows among those of all files

    def opened(self) -> pq.ParquetFile:
        return pq.ParquetFile(self.path, metadata=self.footer)


_ORIGIN = ["sequence", "delivery_id", "source_file"]


class LandedFiles:
    """The landed files of one hospital's table. Rows are counted through them in an order that is theirs and not that of their arrival: by
    sequence, delivery and file."""

    def __init__(self, paths: Iterable[str]) -> None:
        placed: list[tuple[tuple[int, str, str], int, _File]] = []
        for n, path in enumerate(paths):
            with pq.ParquetFile(path) as opened:
                if opened.metadata.num_rows:
                    first = next(opened.iter_batches(1, columns=_ORIGIN, use_threads=False)).to_pylist()[0]
                    place = (first["sequence"], first["delivery_id"], first["source_file"])
                    placed.append((place, n, _File(path, opened.metadata, frozenset(opened.schema_arrow.names), 0)))
        self._files: list[_File] = []
        self.rows = 0
        for _, _, file in sorted(placed, key=lambda one: one[:2]):
            self._files.append(replace(file, first=self.rows))
            self.rows += file.footer.num_rows

    def read(self, columns: Sequence[LayerColumn], chosen: npt.NDArray[np.bool_] | None = None) -> pa.Table:
        """These columns of all rows, or of the ``chosen`` ones, each column one array. One that a file lacks, written before it was added, is
        null there."""
        pieces = [piece for file in self._files for piece in self._pieces(file, columns, chosen)]
        arrays = [_joined([piece[n] for piece in pieces], type_of(column)) for n, column in enumerate(columns)]
        return pa.table(arrays, names=[column.name for column in columns])

    def _pieces(
        self, file: _File, columns: Sequence[LayerColumn], chosen: npt.NDArray[np.bool_] | None
    ) -> Iterator[list[pa.Array]]:
        wanted = [c.name for c in columns if c.name in file.columns]
        first = file.first
        with file.opened() as opened:
            for group in range(opened.num_row_groups):
                rows = opened.metadata.row_group(group).num_rows
                kept = None if chosen is None else chosen[first : first + rows]
                first += rows
                if not rows or (kept is not None and not kept.any()):
                    continue
                data = opened.read_row_group(group, columns=wanted, use_threads=False)
                if kept is not None and not kept.all():
                    data = data.filter(pa.array(kept))
                yield [
                    data[c.name].combine_chunks() if c.name in file.columns else pa.nulls(data.num_rows, type_of(c))
                    for c in columns
                ]


def _joined(pieces: list[pa.Array], kind: pa.DataType) -> pa.Array:
    """One array of several; a dictionary where one of them is."""
    if not pieces:
        return pa.nulls(0, kind)
    if any(pa.types.is_dictionary(piece.type) for piece in pieces):
        encoded = [
            piece if pa.types.is_dictionary(piece.type) else piece.cast(kind).dictionary_encode() for piece in pieces
        ]
        return pa.chunked_array(encoded).unify_dictionaries().combine_chunks()
    return pa.concat_arrays([piece.cast(kind) for piece in pieces])
