"""What the platform's database holds, as numbers and names: for a backup's manifest, and to compare what was restored with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from psycopg2.extensions import cursor as Cursor

_LEDGER = ("delivery", "run", "stage_run", "landed_file", "rejected_record", "release")


@dataclass(frozen=True)
class LakeFile:
    """A file that the catalog names. ``current``: the newest snapshot holds it."""

    key: str
    bytes: int
    current: bool


@dataclass(frozen=True)
class Facts:
    """See the module. ``migration`` and ``fingerprint`` are empty where there is none yet."""

    migration: str
    fingerprint: str
    counts: dict[str, int]
    files: list[LakeFile] = field(default_factory=list)


def read(cursor: Cursor) -> Facts:
    """The facts as the cursor's transaction sees them."""
    migration = _single(cursor, "public.estuaire_version", "select version_num from public.estuaire_version")
    fingerprint = _single(cursor, "control.pseudonym_key", "select fingerprint from control.pseudonym_key")
    counts = {
        name: int(_single(cursor, f"control.{name}", f"select count(*) from control.{name}") or 0) for name in _LEDGER
    }
    snapshot = _single(cursor, "lake.ducklake_snapshot", "select max(snapshot_id) from lake.ducklake_snapshot")
    files = _files(cursor)
    counts |= {"lake_snapshot": int(snapshot or 0), "lake_files": len(files)}
    return Facts(migration, fingerprint, counts, files)


def used(counts: dict[str, int]) -> bool:
    """Whether something was delivered, run or published."""
    return any(counts[name] for name in (*_LEDGER, "lake_files"))


def _single(cursor: Cursor, table: str, query: str) -> str:
    cursor.execute("select to_regclass(%s) is not null", (table,))
    if cursor.fetchone() != (True,):
        return ""
    cursor.execute(query)
    row = cursor.fetchone()
    return "" if row is None or row[0] is None else str(row[0])


def _files(cursor: Cursor) -> list[LakeFile]:
    """Every file that some snapshot holds; not those that only wait to be removed."""
    cursor.execute("select to_regclass('lake.ducklake_data_file') is not null")
    if cursor.fetchone() != (True,):
        return []
    cursor.execute("select value from lake.ducklake_metadata where key = 'data_path'")
    row = cursor.fetchone()
    base = str(row[0]) if row else ""
    # a row per file and per state of its table's name and folder: those do not change with us
    cursor.execute(
        "select distinct f.path, f.path_is_relative, t.path, t.path_is_relative, s.path, s.path_is_relative, f.file_size_bytes, "
        "f.end_snapshot is null from lake.ducklake_data_file f join lake.ducklake_table t using (table_id) "
        "join lake.ducklake_schema s on s.schema_id = t.schema_id order by 1"
    )
    files_by_key = {}
    for path, below_table, table, below_schema, schema, below_data, size, current in cursor.fetchall():
        whole = path
        if below_table:
            whole = table + whole
            if below_schema:
                whole = schema + whole
                if below_data:
                    whole = base + whole
        key = "lake/" + whole.removeprefix(base)
        files_by_key[key] = LakeFile(key, int(size), bool(current))
    return sorted(files_by_key.values(), key=lambda one: one.key)
