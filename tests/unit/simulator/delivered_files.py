"""An independent reader of deliveries: plain csv, strptime and zoneinfo, none of the simulator's own code."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from estuaire.contract.registry import Dialect, Hospital, load_registry, read_code_map
from estuaire.contract.tables import Column, load_contract

PARIS = ZoneInfo("Europe/Paris")
Record = dict[str, str | None]


def manifest(folder: Path, hospital: str, delivery: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "landing" / hospital / delivery / "manifest.json").read_bytes())
    return document


def without_damage(data: bytes, delimiter: bytes) -> tuple[bytes, Counter[str]]:
    """The file without its damaged records, and how many of each kind there were.

    A damaged record stands on a line of its own: it has a NUL, a byte that is no character of UTF-8 or cp1252, or all its separators
    and one quote only.
    """
    kept: list[bytes] = []
    found: Counter[str] = Counter()
    width = data.split(b"\n", 1)[0].count(delimiter)
    for line in data.split(b"\n"):
        if b"\x00" in line:
            found["nul_byte"] += 1
        elif re.search(rb"[\xff\x81](?=[A-Z])", line):
            found["invalid_byte"] += 1
        elif line.count(b'"') == 1 and line.count(delimiter) == width:
            found["stray_quote"] += 1
        else:
            kept.append(line)
    return b"\n".join(kept), found


def files(folder: Path, hospital: str, delivery: str, table: str) -> Iterator[tuple[Dialect, bytes, Counter[str]]]:
    """Each file of a table: its dialect, its bytes without damage, the damage."""
    entry = load_registry().get(hospital)
    for item in manifest(folder, hospital, delivery)["files"]:
        if item["table"] != table:
            continue
        dialect = entry.dialects[item["dialect"]]
        data = (folder / "landing" / hospital / delivery / item["path"]).read_bytes()
        if dialect.compression == "gzip":
            data = gzip.decompress(data)
        yield dialect, *without_damage(data, dialect.delimiter.encode())


def damage(folder: Path, hospital: str, delivery: str, table: str) -> Counter[str]:
    """Damaged records of a table, by kind."""
    found: Counter[str] = Counter()
    for _, _, counts in files(folder, hospital, delivery, table):
        found += Counter({f"{table}.{kind}": n for kind, n in counts.items()})
    return found


def records(folder: Path, hospital: str, delivery: str, table: str) -> list[Record]:
    """Every undamaged record of a table, contract name -> text (None for the hospital's null texts)."""
    entry = load_registry().get(hospital)
    found: list[Record] = []
    for dialect, data, _ in files(folder, hospital, delivery, table):
        reader = csv.reader(io.StringIO(data.decode(dialect.encoding), newline=""), delimiter=dialect.delimiter)
        header = [entry.columns_of(table).get(name, name) for name in next(reader)]
        for row in reader:
            assert len(row) == len(header)
            found.append({n: None if v in dialect.null_values else v for n, v in zip(header, row, strict=True)})
    return found


def parse_datetime(text: str, dialect: Dialect) -> datetime | None:
    """Naive local time, or aware where the text has an offset; None if no format reads it."""
    for fmt in dialect.datetime_formats:
        try:
            return datetime.strptime(text, fmt)
        except ValueError:
            continue
    return None


def is_missing_hour(moment: datetime) -> bool:
    if moment.tzinfo:
        return False
    there = moment.replace(tzinfo=PARIS)
    return there.astimezone(UTC).astimezone(PARIS).replace(tzinfo=None) != moment


def is_repeated_hour(moment: datetime) -> bool:
    if moment.tzinfo or is_missing_hour(moment):
        return False
    return moment.replace(tzinfo=PARIS, fold=0).utcoffset() != moment.replace(tzinfo=PARIS, fold=1).utcoffset()


def _type_problem(column: Column, text: str, dialect: Dialect) -> str | None:
    if column.type == "datetime":
        moment = parse_datetime(text, dialect)
        if moment is None:
            return "type"
        return "missing_hour" if is_missing_hour(moment) else None
    try:
        if column.type == "date":
            datetime.strptime(text, dialect.date_formats[0])
        elif column.type == "decimal":
            Decimal(text.replace(dialect.decimal, "."))
        elif column.type == "integer":
            int(text)
    except (ValueError, InvalidOperation):
        return "type"
    return None


def problems(record: Record, hospital: Hospital, table: str) -> list[str]:
    """Landing rules that the record breaks."""
    contract = load_contract().table(table)
    dialect = hospital.dialects[hospital.table_dialect[table]]
    found = []
    for column in contract.columns:
        text = record[column.name]
        if record.get("op") == "delete" and column.name not in contract.key:
            continue
        if text is None:
            if column.required:
                found.append(f"{table}.{column.name}.required")
        elif problem := _type_problem(column, text, dialect):
            found.append(f"{table}.{column.name}.{problem}")
    return found


def nir_holds(nir: str) -> bool:
    body = nir[:5] + nir[5:7].replace("2A", "19").replace("2B", "18") + nir[7:13]
    return int(nir[13:]) == 97 - int(body) % 97


_LOOKS: tuple[tuple[str, str, Callable[[str], object]], ...] = (
    ("patient.invalid_nir_key", "national_id", lambda text: not nir_holds(text)),
    ("isolate.label_mojibake", "organism_label", lambda text: "¿" in text),
    ("isolate.label_newline", "organism_label", lambda text: "\n" in text),
    ("susceptibility.operator_padded", "operator", lambda text: text != text.strip()),
    ("susceptibility.operator_reversed", "operator", lambda text: text.strip() in ("=<", "=>")),
    ("susceptibility.category_with_value", "category", lambda text: text.startswith("< 0.5 ")),
    ("diagnosis.dotted_code", "diagnosis_code", lambda text: "." in text),
)


def planted(found: list[Record], hospital: Hospital, table: str) -> Counter[str]:
    """Traps recognised by what they look like, not by where they were planted."""
    counts: Counter[str] = Counter()
    dialect = hospital.dialects[hospital.table_dialect[table]]
    seen: Counter[tuple[str | None, ...]] = Counter(tuple(r.values()) for r in found)
    counts[f"{table}.exact_duplicate"] = sum(n - 1 for n in seen.values())
    for record in [r for r in found if r.get("op") != "delete"]:
        for name, column, looks in _LOOKS:
            if name.startswith(f"{table}.") and (text := record[column]) is not None:
                counts[name] += bool(looks(text))
        if table != "administration":
            continue
        label, drug, stay = record["drug_label"] or "", record["drug_code"] or "", record["stay_id"] or ""
        counts["administration.label_newline"] += "\n" in label
        counts["administration.label_separator"] += dialect.delimiter in label
        counts["administration.label_quote"] += '"' in label
        counts["administration.label_accents"] += not label.isascii()
        counts["administration.unresolved_stay"] += stay.startswith("99")
        if "drug" in hospital.code_maps:
            known = read_code_map(hospital.code_maps["drug"])
            counts["administration.unpadded_ucd"] += drug not in known and drug.zfill(13) in known
            counts["administration.unmapped_drug"] += drug not in known and drug.zfill(13) not in known
        else:
            counts["administration.unmapped_drug"] += drug.startswith("LOCAL")
        moment = parse_datetime(record["given_at"] or "", dialect)
        if moment is not None:
            counts["administration.repeated_autumn_hour"] += is_repeated_hour(moment)
            if moment.tzinfo:
                local = moment.astimezone(PARIS)
                counts["administration.autumn_hour_with_offset"] += local.fold
    return +counts


def every(plan_hospitals: tuple[str, ...], deliveries: list[str]) -> Iterator[tuple[str, str, str]]:
    for hospital in plan_hospitals:
        for delivery in deliveries:
            for table in load_contract().names:
                yield hospital, delivery, table
