"""How landed Parquet files are written: texts that repeat as dictionaries, which hold what their rows bear and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# numbers and times that are the same for all records of a file
_CONSTANT = ("sequence", "latest_at", "latest_day")


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
