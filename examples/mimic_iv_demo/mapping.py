"""Maps the MIMIC-IV demo's raw files to contract tables, with a balance: no raw line is lost, none is counted twice.

Each raw file has a query of its lines' *fates* (``fates/<file>.sql``: line, table that it is mapped to, else the reason why it is left
out), each contract table a query of its rows (``tables/<table>.sql``) over the lines that are mapped to it. The balance then compares an
independent count of each file's records with the fates, and the fates with the rows that stand in the written files.

Plain DuckDB SQL and one process: what a hospital runs beside its own warehouse.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

from estuaire.base.errors import EstuaireError
from estuaire.base.sql import literal

HERE = Path(__file__).parent
FILES = tuple(sorted(path.stem for path in (HERE / "fates").glob("*.sql")))
LISTS = ("event_texts", "forms_by_mouth", "oral_forms", "screening_tests", "unit_doses")
# in this order: a fate may look at an earlier one
_FATES = (*(f for f in FILES if f != "emar_detail"), "emar_detail")
# contract table -> the raw file of which each mapped line is one row of it
ONE_ROW_A_LINE = {
    "patient": "patients",
    "stay": "admissions",
    "movement": "transfers",
    "diagnosis": "diagnoses_icd",
    "procedure": "procedures_icd",
    "prescription": "prescriptions",
    "administration": "emar",
    "susceptibility": "microbiologyevents",
    "lab_result": "labevents",
}
# contract table -> how many rows several raw lines make together
SEVERAL_LINES_A_ROW = {
    "unit": "select count(distinct careunit) from transfers join transfers_fate using (line) where mapped_to = 'movement'",
    "specimen": "select count(distinct micro_specimen_id) from microbiologyevents",
    "isolate": "select count(*) from (select distinct micro_specimen_id, test_seq, org_name, isolate_num "
    "from microbiologyevents where org_name is not null)",
}
TABLES = (*ONE_ROW_A_LINE, *SEVERAL_LINES_A_ROW)


class RawDataMissing(EstuaireError):
    """The raw files, or one of them, are not there."""

    code = "E_RAW_DATA_MISSING"


class RawDataDamaged(EstuaireError):
    """A raw file cannot be read whole, or lacks a column."""

    code = "E_RAW_DATA_DAMAGED"


class ListIncomplete(EstuaireError):
    """The raw files say something that the reviewed lists do not know."""

    code = "E_LIST_INCOMPLETE"


class Unbalanced(EstuaireError):
    """Raw lines were lost or counted twice: a defect of the mapping; nothing was delivered."""

    code = "E_MAPPING_UNBALANCED"


@dataclass
class FileBalance:
    """One raw file: ``lines`` are its records, counted apart from the mapping. lines = sum of mapped + sum of left_out.

    Attributes:
        mapped: contract table -> lines.
        left_out: reason (of lists/reasons.csv) -> lines.
    """

    file: str
    sha256: str
    lines: int
    mapped: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def accounted(self) -> int:
        return sum(self.mapped.values()) + sum(self.left_out.values())


@dataclass
class Balance:
    """The whole mapping: raw files, rows of each contract table as read back from its file, and the period [from, to) of the delivery."""

    files: list[FileBalance]
    rows: dict[str, int]
    period: tuple[date, date]

    @property
    def lines(self) -> int:
        return sum(f.lines for f in self.files)

    @property
    def accounted(self) -> int:
        return sum(f.accounted for f in self.files)

    def as_dict(self) -> dict[str, Any]:
        """For ``balance.json``."""
        return {
            "lines": self.lines,
            "accounted": self.accounted,
            "period": {"from": self.period[0].isoformat(), "to": self.period[1].isoformat()},
            "files": [asdict(f) for f in self.files],
            "rows": self.rows,
            "reasons": reasons(),
        }


def reasons() -> dict[str, dict[str, str]]:
    """Each reason for leaving a line out -> its label in English and French."""
    with (HERE / "lists" / "reasons.csv").open(encoding="utf-8", newline="") as rows:
        return {row["reason"]: {"en": row["label_en"], "fr": row["label_fr"]} for row in csv.DictReader(rows)}


def map_warehouse(raw: Path, delivery: Path) -> Balance:
    """Write the contract tables of the raw files in ``raw/hosp`` as ``delivery/<table>.csv`` (UTF-8, commas), and balance.

    The same raw files give the same bytes.

    Raises:
        RawDataMissing: the folder or a file is not there.
        RawDataDamaged: a file is cut short or lacks a column.
        ListIncomplete: an event text stands in no reviewed list, a line is left out for a reason that is not listed.
        Unbalanced: lines were lost or counted twice; what was written is removed.
    """
    paths = _raw_files(raw)
    delivery.mkdir(parents=True, exist_ok=True)
    try:
        with duckdb.connect(config={"threads": 1}) as connection:
            return _mapped(connection, paths, delivery)
    except EstuaireError:
        for table in TABLES:
            (delivery / f"{table}.csv").unlink(missing_ok=True)
        raise


@contextmanager
def opened(raw: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The raw files of ``raw/hosp`` as tables, with the reviewed lists, the fates of their lines, and the administrations.

    Raises:
        RawDataMissing, RawDataDamaged, ListIncomplete: as ``map_warehouse``.
    """
    paths = _raw_files(raw)
    with duckdb.connect(config={"threads": 1}) as connection:
        _with_fates(connection, paths)
        text = (HERE / "tables" / "administration.sql").read_text(encoding="utf-8")
        _run(connection, "tables/administration.sql", f"create table administration as {text}")
        yield connection


def _with_fates(connection: duckdb.DuckDBPyConnection, paths: dict[str, Path]) -> dict[str, int]:
    """Raw files, lists and fates as tables; an independent count of each file's records."""
    counted = {name: _read(connection, name, path) for name, path in paths.items()}
    _read_lists(connection)
    _run(connection, "shared.sql", (HERE / "shared.sql").read_text(encoding="utf-8"))
    for name in _FATES:
        text = (HERE / "fates" / f"{name}.sql").read_text(encoding="utf-8")
        _run(connection, f"fates/{name}.sql", f"create table {name}_fate as {text}")
    return counted


def _mapped(connection: duckdb.DuckDBPyConnection, paths: dict[str, Path], delivery: Path) -> Balance:
    counted = _with_fates(connection, paths)
    for table in TABLES:
        text = (HERE / "tables" / f"{table}.sql").read_text(encoding="utf-8")
        target = literal(delivery / f"{table}.csv")
        _run(connection, f"tables/{table}.sql", f"copy ({text}) to {target} (header, delimiter ',')")
    return _balance(connection, paths, counted, delivery)


# ---------------------------------------------------------------- raw files


def _raw_files(raw: Path) -> dict[str, Path]:
    folder = raw / "hosp"
    if not folder.is_dir():
        raise RawDataMissing(
            f"there is no folder of raw files at {folder}",
            remedy="unpack the MIMIC-IV Clinical Database Demo (https://doi.org/10.13026/07hj-2a80) and name its folder "
            "in ESTUAIRE_REAL_DATA",
        )
    there = {path.name.removesuffix(".csv.gz"): path for path in folder.glob("*.csv.gz")}
    missing = [name for name in FILES if name not in there]
    if missing:
        raise RawDataMissing(
            f"raw files are missing: {', '.join(missing)}",
            remedy="unpack the whole demo again, SHA256SUMS.txt lists it",
        )
    unknown = sorted(set(there) - set(FILES))
    if unknown:
        raise ListIncomplete(
            f"no query says what becomes of these raw files: {', '.join(unknown)}",
            remedy="add examples/mimic_iv_demo/fates/<file>.sql, which says of each line where it goes or why it is left out",
        )
    return {name: there[name] for name in FILES}


def _records(path: Path) -> Iterator[list[str]]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as data:
        yield from csv.reader(io.TextIOWrapper(data, encoding="utf-8", newline=""))


def _count(path: Path) -> int:
    """Records below the header, by Python's csv module: the mapping itself reads with DuckDB."""
    try:
        return sum(1 for _ in _records(path)) - 1
    except (EOFError, OSError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise RawDataDamaged(
            "the raw file cannot be read to its end",
            file=path.name,
            remedy="fetch it again; SHA256SUMS.txt tells a right one",
        ) from error


def _read(connection: duckdb.DuckDBPyConnection, name: str, path: Path) -> int:
    """Table ``name`` with every column as text and ``line``, the number of the record; returns an independent count of the records."""
    counted = _count(path)
    _run(
        connection,
        path.name,
        f"create table {name} as select row_number() over () as line, * from read_csv({literal(path)}, header = true, "
        "all_varchar = true, delim = ',', quote = '\"', escape = '\"', auto_detect = false, columns = "
        f"{_columns(path)}, parallel = false)",
    )
    return counted


def _columns(path: Path) -> str:
    header = next(_records(path), [])
    return "{" + ", ".join(f"{literal(c)}: 'varchar'" for c in header) + "}"


def _read_lists(connection: duckdb.DuckDBPyConnection) -> None:
    """The reviewed lists, and a look at whether they know every event text."""
    for name in LISTS:
        source = literal(HERE / "lists" / f"{name}.csv")
        connection.execute(
            f"create table {name} as select * from read_csv({source}, header = true, all_varchar = true, nullstr = '\\N')"
        )
    row = connection.execute(
        "select count(*), count(distinct event_txt) from emar "
        "where coalesce(trim(event_txt), '') not in (select event_texts.event_txt from event_texts)"
    ).fetchone()
    if row and row[0]:
        raise ListIncomplete(
            f"{row[0]} events bear {row[1]} texts that no one has reviewed",
            file="emar.csv.gz",
            remedy="add each text to examples/mimic_iv_demo/lists/event_texts.csv: given, or the reason why it is no dose",
        )


def _run(connection: duckdb.DuckDBPyConnection, what: str, text: str) -> None:
    try:
        connection.execute(text)
    except duckdb.BinderException as error:
        raise RawDataDamaged(
            "a column that the mapping reads is not in the raw files", file=what, remedy="use version 2.2 of the demo"
        ) from error
    except (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.IOException):
        # DuckDB's own message repeats the line: it stays out of ours, and out of the traceback
        raise RawDataDamaged(
            "the raw files hold something that cannot be read as what it should be",
            file=what,
            remedy="compare the files with SHA256SUMS.txt and fetch them again",
        ) from None


# ---------------------------------------------------------------- balance


def _balance(
    connection: duckdb.DuckDBPyConnection, paths: dict[str, Path], counted: dict[str, int], delivery: Path
) -> Balance:
    files = [_file_balance(connection, name, path, counted[name]) for name, path in paths.items()]
    rows = {table: _count(delivery / f"{table}.csv") for table in TABLES}
    mapped = {f.file: f.mapped for f in files}
    expected = {table: mapped[file].get(table, 0) for table, file in ONE_ROW_A_LINE.items()}
    for table, question in SEVERAL_LINES_A_ROW.items():
        expected[table] = int((connection.execute(question).fetchone() or (0,))[0])
    for table in TABLES:
        if rows[table] != expected[table]:
            raise Unbalanced(
                f"{rows[table]} rows were written where the mapped lines make {expected[table]}",
                table=table,
                remedy="correct its query in examples/mimic_iv_demo/tables",
            )
    return Balance(files, rows, _period(connection))


def _file_balance(connection: duckdb.DuckDBPyConnection, name: str, path: Path, counted: int) -> FileBalance:
    balance = FileBalance(name, hashlib.sha256(path.read_bytes()).hexdigest(), counted)
    known = reasons()
    row = connection.execute(
        f"select count(*), count(distinct line), count(*) filter (where (mapped_to is null) = (reason is null)) from {name}_fate"
    ).fetchone()
    fates, lines, undecided = row or (0, 0, 0)
    for mapped_to, reason, n in connection.execute(
        f"select mapped_to, reason, count(*) from {name}_fate group by all order by all"
    ).fetchall():
        if mapped_to is not None:
            balance.mapped[mapped_to] = n
        else:
            balance.left_out[reason] = n
    if undecided or not counted == fates == lines == balance.accounted:
        raise Unbalanced(
            f"{counted} records were counted, {lines} have a fate, {fates - lines} have several, {undecided} are neither "
            "mapped nor left out, or both",
            file=path.name,
            remedy=f"correct examples/mimic_iv_demo/fates/{name}.sql",
        )
    unlisted = sorted(set(balance.left_out) - set(known))
    if unlisted:
        raise ListIncomplete(
            f"lines are left out for reasons that are not listed: {', '.join(unlisted)}",
            file=path.name,
            remedy="add them to examples/mimic_iv_demo/lists/reasons.csv",
        )
    return balance


def _period(connection: duckdb.DuckDBPyConnection) -> tuple[date, date]:
    """[first day, day after the last) of what is delivered with a date."""
    row = connection.execute(
        "select min(day), max(day) from (select admittime::date as day from admissions union all select dischtime::date from admissions "
        "union all select charttime::date from labevents union all select charttime::date from emar "
        "union all select chartdate::date from microbiologyevents union all select chartdate::date from procedures_icd "
        "union all select starttime::date from prescriptions)"
    ).fetchone()
    if row is None or row[0] is None:
        raise RawDataDamaged("the raw files hold no date", remedy="fetch them again")
    return row[0], row[1] + timedelta(days=1)
