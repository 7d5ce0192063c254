"""What is asked of each record of a file, and how it is accounted for, for the peers that do the same work.

Written anew from the contract, the rule registry, docs/domain/deliveries.md and docs/domain/quality.md.
"""

from __future__ import annotations

import csv
import hashlib
import io
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from estuaire.contract.manifest import Manifest, ManifestFile
from estuaire.contract.registry import Dialect, Hospital
from estuaire.contract.tables import OPERATION_COLUMN, UPDATED_COLUMN, Column, Table
from estuaire.rules.rule_registry import EARLIEST, LATEST, Rule
from tests.benchmarks.peers import same_records
from tests.benchmarks.peers.same_records import BOM, Records, Refused

KEY = b"k" * 32
ORIGIN = ("hospital_id", "delivery_id", "sequence", "latest_at", "latest_day", "source_file")
GAP_HOURS, LONG_DAYS = 24, 365  # records of a full stay so near are one stay; a longer one is listed
LAST_DAY_OF_A_SHIFTED_CALENDAR = datetime(2250, 1, 1, tzinfo=UTC) - timedelta(days=1)
FIRST_UPDATE, LAST_UPDATE = (datetime.fromisoformat(f"{day}T00:00:00+00:00") for day in (EARLIEST, LATEST))


@dataclass(frozen=True)
class Source:
    """One delivered file."""

    path: Path
    manifest: Manifest
    file: ManifestFile
    table: Table
    hospital: Hospital
    dialect: Dialect
    rules: tuple[Rule, ...]


@dataclass
class Account:
    """What landing a file gave: records and sums of their identities, and rule -> [checked, broken, of which accepted]."""

    table: str
    delivery: str
    file: str
    rows_in: int = 0
    hash_in: int = 0
    rows_unparseable: int = 0
    hash_unparseable: int = 0
    rows_quarantined: int = 0
    hash_quarantined: int = 0
    rows_out: int = 0
    checks: dict[str, list[int]] = field(default_factory=dict)
    extra_columns: list[str] = field(default_factory=list)
    doubtful: int = 0
    error: str = ""


@dataclass
class Consolidated:
    """One consolidated table: its rows, and per delivery the records (and the sum of their identities) that are not in it; unmapped is code
    system -> code -> column -> records."""

    table: str
    rows: int
    superseded: dict[str, list[int]]
    unmapped: dict[str, dict[str, dict[str, int]]]


@dataclass(frozen=True)
class Check:
    """One test of every record. It is broken where the boolean column ``mark`` says so, or else where ``expression`` is false and none of
    ``unread`` is true. A deletion is judged where ``of_deletions``."""

    id: str
    columns: tuple[str, ...]
    action: str
    of_deletions: bool
    mark: str = ""
    expression: str = ""
    unread: tuple[str, ...] = ()


def identifiers(table: Table) -> set[str]:
    """Columns that name a person, a stay or a record; those with a key of their own apart."""
    naming = {*table.key, *(name for reference in table.references for name in reference.columns)}
    return {
        c.name
        for c in table.columns
        if (c.pseudonym is not None and c.pseudonym.check is None)
        or (c.pseudonym is None and c.name in naming and c.type in ("string", "code"))
    }


def labels(table: Table) -> set[str]:
    """Columns of free text."""
    return {c.name for c in table.columns if c.type == "string" and c.pseudonym is None} - identifiers(table)


def plain(table: Table) -> list[str]:
    """Columns whose text goes on as it is, or as a number: where a national number may stand unseen."""
    return [c.name for c in table.columns if c.pseudonym is None and c.type not in ("date", "datetime")]


def _of_column(table: Table, column: Column, present: set[str]) -> list[Check]:
    name, place, key = column.name, f"{table.name}.{column.name}", column.name in table.key
    here, pseudonym = name in present, column.pseudonym
    checks = []
    if column.type == "datetime":
        checks.append(Check(f"{place}.missing_hour", (name,), "quarantine", True, f"{name}__missing"))
        checks.append(Check(f"{place}.repeated_hour", (name,), "flag", True, f"{name}__repeated"))
    if here and name in identifiers(table):
        checks.append(Check(f"{place}.spreadsheet", (name,), "quarantine", key, f"{name}__spoilt"))
    if here and pseudonym is not None and pseudonym.domain == "patient":
        checks.append(Check(f"{place}.unknown", (name,), "flag", key, f"{name}__unknown"))
    if pseudonym is not None and pseudonym.check is not None:
        checks.append(Check(f"{place}.{pseudonym.check}", (name,), "flag", True, f"{name}__bad"))
    elif here:
        checks.append(Check(f"{place}.type", (name,), "quarantine", key, f"{name}__bad"))
    return checks


def _of_rule(table: Table, rule: Rule) -> Check:
    read = tuple(c for c in rule.columns if c not in ORIGIN)
    unread = [f"{c.removesuffix('_local')}__bad" for c in read]
    unread += [f"{c}__missing" for c in (n.removesuffix("_local") for n in read) if table.column(c).type == "datetime"]
    return Check(
        rule.id, read, rule.action, rule.implied and rule.columns[0] in table.key, "", rule.expression, tuple(unread)
    )


def checks_of(table: Table, rules: tuple[Rule, ...], present: set[str]) -> list[Check]:
    """Every check of a file with these columns, in the order in which flags and rules are written."""
    checks = [check for column in table.columns for check in _of_column(table, column, present)]
    bounded = {
        r.id.removesuffix(".range") + ".future" for r in rules if r.id.endswith(".range") and "latest_day" in r.columns
    }
    checks += [_of_rule(table, rule) for rule in rules if rule.id not in bounded]
    checks.append(Check(f"{table.name}.op.value", ("op",), "quarantine", True, "op__foreign"))
    if UPDATED_COLUMN in present:
        for what, mark in (("type", "bad"), ("range", "beyond")):
            columns = (UPDATED_COLUMN,)
            checks.append(
                Check(f"{table.name}.{UPDATED_COLUMN}.{what}", columns, "quarantine", True, f"{UPDATED_COLUMN}__{mark}")
            )
    for name in plain(table):
        if name in present:
            checks.append(Check(f"{table.name}.{name}.national_id", (name,), "quarantine", True, f"{name}__national"))
    return checks


def ends(table: Table, rules: tuple[Rule, ...]) -> dict[str, str]:
    """Time that ends something -> the one that begins it, as a rule ``end >= begin`` says."""
    pairs = [r.expression.split(" >= ") for r in rules if r.expression.count(" >= ") == 1 and not r.when]
    times = {c.name for c in table.columns if c.type == "datetime"}
    return {end: begin for end, begin in pairs if {end, begin} <= times}


# ------------------------------------------------------------------------------------------------ files


@dataclass
class Opened:
    """A file that was cut into records: contract name of each column (None: of none), and where it all stands."""

    names: list[str | None]
    records: Records
    sound: tuple[Any, Any]
    hurt: tuple[Any, Any]

    @property
    def present(self) -> set[str]:
        return {name for name in self.names if name}

    def column_names(self) -> list[str]:
        """A name for each column of the file."""
        return [name or f"_extra_{n}" for n, name in enumerate(self.names)]


def _folded(name: str) -> str:
    shown = "".join(c for c in unicodedata.normalize("NFC", name) if unicodedata.category(c) != "Cf")
    return " ".join(shown.split()).casefold()


def _named(source: Source, header: bytes) -> list[str | None]:
    text = header.removeprefix(BOM).decode(source.dialect.encoding, "replace").rstrip("\r\n")
    written = next(csv.reader(io.StringIO(text, newline=""), delimiter=source.dialect.delimiter), [])
    folded = [_folded(name) for name in written]
    registered = {_folded(k): v for k, v in source.hospital.columns_of(source.table.name).items()}
    taken = {registered[name] for name in folded if name in registered}
    known = {c.name for c in source.table.columns} | {OPERATION_COLUMN, UPDATED_COLUMN}
    names: list[str | None] = []
    for name in folded:
        target = registered.get(name) or (None if name in taken else name)
        names.append(target if target in known and target not in names else None)
    if not set(source.table.required) <= set(names):
        raise Refused("E_COLUMN_MISSING")
    return names


def opened(source: Source, account: Account) -> Opened:
    """The file's records, counted into its account."""
    file, dialect, manifest = source.file, source.dialect, source.manifest
    data = same_records.content(source.path, dialect.compression, file.sha256, file.bytes)
    start = same_records.header_end(data)
    names = _named(source, data[:start])
    account.extra_columns = [str(n) for n, name in enumerate(names, start=1) if name is None]
    records = same_records.cut(data, start, separator=dialect.delimiter, fields=len(names), encoding=dialect.encoding)
    sound, hurt = (
        row_uids(manifest.hospital, manifest.delivery_id, file.path, p.number, p.line)
        for p in (records.sound, records.hurt)
    )
    account.rows_in = len(sound[0]) + len(hurt[0])
    account.rows_unparseable, account.hash_unparseable = len(hurt[0]), exact_sum(*hurt)
    account.hash_in = exact_sum(*sound) + account.hash_unparseable
    account.doubtful = records.doubtful
    _check_encoding(data, dialect.encoding, records.reason)
    if account.rows_in != file.rows and not account.rows_unparseable:
        raise Refused("E_ROW_COUNT")
    return Opened(names, records, sound, hurt)


def _check_encoding(data: bytes, declared: str, reasons: list[str]) -> None:
    """A file in another encoding than its own throughout is refused."""
    if data.isascii():
        return
    text = data.removeprefix(BOM).decode("utf-8", "ignore")
    letters = not text.replace("\ufeff", "").isascii()
    if declared.startswith("utf-8"):
        if reasons.count("encoding") >= 20 and not letters:
            raise Refused("E_ENCODING")
        return
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return
    if letters:
        raise Refused("E_ENCODING")


def check_retyped(account: Account, table: Table) -> None:
    """A required column of which most values are of another type refuses the file."""
    for name in table.required:
        checked, broken, _ = account.checks.get(f"{table.name}.{name}.type", [0, 0, 0])
        if checked >= 20 and broken * 2 > checked:
            raise Refused("E_COLUMN_RETYPED")


# ------------------------------------------------------------------------------------------------ identities


def _mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))


def row_uids(hospital: str, delivery: str, file: str, number: Any, line: Any) -> tuple[Any, Any]:
    """The halves of each record's identity: splitmix64 of its number, and of that and its line, each begun from the file's BLAKE2b."""
    seed = hashlib.blake2b("\x1f".join((hospital, delivery, file)).encode(), digest_size=16).digest()
    first, second = np.frombuffer(seed, np.uint64)
    with np.errstate(over="ignore"):
        number, line = number.astype(np.uint64), line.astype(np.uint64)
        hi = _mixed(number + first)
        lo = _mixed(_mixed(number + second) + line * np.uint64(0x9E3779B97F4A7C15))
    return hi.view(np.int64), lo.view(np.int64)


def exact_sum(*halves: Any) -> int:
    """Sum of both halves of some identities, without overflow."""
    return sum(
        (int((half >> 32).sum()) << 32) + int((half & 0xFFFFFFFF).sum()) for half in (np.asarray(h) for h in halves)
    )


def latest(source: Source) -> tuple[datetime, date]:
    """The last moment (UTC) and local day that an event of the delivery may bear."""
    zone = ZoneInfo(source.hospital.timezone)
    extracted = source.manifest.extracted_at
    if extracted.tzinfo is None:
        extracted = extracted.replace(tzinfo=zone)
    at = extracted.astimezone(UTC) + timedelta(days=1)
    if source.hospital.calendar == "shifted":
        at = LAST_DAY_OF_A_SHIFTED_CALENDAR
    return at, at.astimezone(zone).date()


# ------------------------------------------------------------------------------------------------ deliveries of a hospital


@dataclass(frozen=True)
class Full:
    """A full delivery: of its tables it ends what lies in [start, end) and is not in it."""

    sequence: int
    start: date
    end: date
    tables: tuple[str, ...]


@dataclass
class Deliveries:
    """What consolidating a hospital reads beside its landed files. ``rejected``: table -> (key, sequence, updated) of each rejected record."""

    hospital: Hospital
    fulls: list[Full]
    told_until: datetime | None
    rejected: dict[str, list[tuple[str, int, datetime | None]]] = field(default_factory=dict)


def deliveries(sources: list[Source]) -> Deliveries:
    """The full deliveries of a hospital, and the moment until which its stays are told."""
    hospital = sources[0].hospital
    manifests = {s.manifest.delivery_id: s.manifest for s in sources}
    fulls = [
        Full(m.sequence, m.period_from, m.period_to, tuple(f.table for f in m.files))
        for m in manifests.values()
        if m.kind == "full"
    ]
    zone = ZoneInfo(hospital.timezone)
    ends = [
        min(datetime.combine(m.period_to, time(), zone), m.extracted_at)
        for m in manifests.values()
        if any(f.table == "stay" and f.rows for f in m.files)
    ]
    return Deliveries(hospital, fulls, None if hospital.calendar == "shifted" else max(ends, default=None))
