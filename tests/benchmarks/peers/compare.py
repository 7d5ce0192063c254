"""Row for row: what two engines made of the same deliveries.

Landed files (every column, type and flag of each record), rejected records with their place and reasons, accounts and counts by rule of each file,
consolidated tables (every column), and their accounts. A difference says where, in what column, of how many records; never a value.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb

_FILE = (
    "table", "delivery", "file", "rows_in", "hash_in", "rows_unparseable", "hash_unparseable", "rows_quarantined", "hash_quarantined",
    "rows_out", "extra_columns", "doubtful", "error",
)  # fmt: skip
_IDENTITY = ("row_uid_hi", "row_uid_lo")


def differences(ours: Path, theirs: Path) -> list[str]:
    """Every difference of two folders of a hospital."""
    accounts = [json.loads((folder / "accounts.json").read_text(encoding="utf-8")) for folder in (ours, theirs)]
    told: list[str] = []
    files = [account["files"] for account in accounts]
    for n, (one, other) in enumerate(zip(*files, strict=True)):
        place = f"{one['delivery']}/{one['file']}"
        told += [f"{place}: {name}" for name in _FILE if one[name] != other[name]]
        told += _counts(place, one["checks"], other["checks"])
        told += [f"{place}: {text}" for text in _rows(ours / f"{n}.parquet", theirs / f"{n}.parquet")]
        rejects = (folder / f"{n}.rejects.parquet" for folder in (ours, theirs))
        told += [f"{place}, rejected: {text}" for text in _rows(*rejects)]
    by_table = [{table["table"]: table for table in account["tables"]} for account in accounts]
    for name in sorted({*by_table[0], *by_table[1]}):
        told += [f"{name}: {text}" for text in _tables(by_table[0].get(name), by_table[1].get(name))]
        out = (folder / f"out-{name}.parquet" for folder in (ours, theirs))
        told += [f"{name}: {text}" for text in _rows(*out)]
    return told


def compared(ours: Path) -> dict[str, int]:
    """How much was compared: landed, rejected and consolidated records, and pairs of (file, rule)."""
    account = json.loads((ours / "accounts.json").read_text(encoding="utf-8"))
    return {
        "landed": sum(f["rows_out"] for f in account["files"]),
        "rejected": sum(f["rows_unparseable"] + f["rows_quarantined"] for f in account["files"]),
        "rules": sum(len(f["checks"]) for f in account["files"]),
        "consolidated": sum(t["rows"] for t in account["tables"]),
    }


def _counts(place: str, one: dict[str, list[int]], other: dict[str, list[int]]) -> list[str]:
    if list(one) != list(other):
        return [f"{place}: rules {sorted(set(one) ^ set(other)) or 'in another order'}"]
    return [f"{place}: rule {rule} {one[rule]}, {other[rule]}" for rule in one if one[rule] != other[rule]]


def _tables(one: dict[str, Any] | None, other: dict[str, Any] | None) -> list[str]:
    if one is None or other is None:
        return ["is missing"]
    told = [f"{name} {one[name]}, {other[name]}" for name in ("rows", "superseded") if one[name] != other[name]]
    return told + (["unmapped codes"] if one["unmapped"] != other["unmapped"] else [])


def _columns(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    rows = connection.execute("describe select * from read_parquet(?)", [str(path)]).fetchall()
    return {name: kind for name, kind, *_ in rows}


def _rows(one: Path, other: Path) -> list[str]:
    """Differences of two files of records, which have the same identities."""
    if not one.exists() and not other.exists():
        return []
    if one.exists() != other.exists():
        return [f"only {'the first' if one.exists() else 'the second'} writes it"]
    with duckdb.connect(config={"threads": 1}) as connection:
        columns = [_columns(connection, path) for path in (one, other)]
        if columns[0] != columns[1]:
            changed = {name for name, _ in columns[0].items() ^ columns[1].items()}
            return [f"columns {sorted(changed) or 'in another order'}"]
        both = "a.row_uid_hi is not null and b.row_uid_hi is not null"
        differ = [f'count(*) filter (where {both} and a."{c}" is distinct from b."{c}")' for c in columns[0]]
        row = connection.execute(
            f"select count(*) filter (where not ({both})), {', '.join(differ)} "
            f"from read_parquet(?) as a full join read_parquet(?) as b using ({', '.join(_IDENTITY)})",
            [str(one), str(other)],
        ).fetchone()
        counts = [connection.execute("select count(*) from read_parquet(?)", [str(p)]).fetchone() for p in (one, other)]
    assert row is not None
    told = [f"{row[0]} records are in one alone"] if row[0] else []
    told += [f"records {counts[0]}, {counts[1]}"] if counts[0] != counts[1] else []
    return told + [
        f"column {name}: {count} records differ" for name, count in zip(columns[0], row[1:], strict=True) if count
    ]
