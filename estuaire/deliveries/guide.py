"""Delivery guides and sample deliveries, from the contract, the registry and the rules; nothing in them is written per hospital.

The sample's records stand in ``contract/hospital/sample_v<version>.yml`` in contract terms; the simulator's own writer turns them into the
hospital's dialect, header names and local codes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
import numpy as np
import polars as pl

from estuaire.base import yaml_text
from estuaire.base.errors import ContractError, explained_errors
from estuaire.base.texts import LANGUAGES, say
from estuaire.contract import mapped_share
from estuaire.contract.codes import CodeSystem, code_systems
from estuaire.contract.combinations import recorded_dose
from estuaire.contract.manifest import NAME, Manifest, ManifestFile
from estuaire.contract.registry import Dialect, Hospital, read_code_map
from estuaire.contract.tables import FOLDER, OPERATION_COLUMN, UPDATED_COLUMN, Column, Contract, Table, load_contract
from estuaire.rules.rule_registry import load_rules
from estuaire.simulator.local_codes import inverted_maps
from estuaire.simulator.text import as_text, file_bytes, null_text, with_own_headers

SAMPLE = "sample"
SAMPLE_ID = "example-0001-full"
_SAMPLE_PERIOD = (date(2025, 3, 1), date(2025, 4, 1))
_SHOWN_CODES = 12
_POLARS: dict[str, Any] = {"date": pl.Date, "datetime": pl.Datetime("us"), "decimal": pl.Float64, "integer": pl.Int64}
_EPOCH = datetime(1970, 1, 1)

_DELIMITERS = {";": "semicolon", ",": "comma", "|": "bar", "\t": "tab"}
_MARKS = "dmYybHMSz"  # strptime's, each of which has its message


@dataclass(frozen=True)
class Sample:
    """A small valid full delivery: its manifest and the bytes of its files by path."""

    manifest: Manifest
    files: dict[str, bytes]


# ---------------------------------------------------------------- the sample delivery


@lru_cache(maxsize=2)
def _sample_rows(version: str) -> dict[str, list[dict[str, Any]]]:
    """Records by table, in contract terms.

    Raises:
        ContractError: a table of the contract has no record there, or a record names another column.
    """
    path = FOLDER / f"sample_v{version}.yml"
    rows: dict[str, list[dict[str, Any]]] = yaml_text.read(path.read_text(encoding="utf-8"))
    for table in load_contract(version).tables:
        known = {c.name for c in table.columns}
        if not rows.get(table.name):
            raise ContractError(f"{path.name} has no record of {table.name}", remedy="add three")
        for row in rows[table.name]:
            if not set(row) <= known or not set(table.required) <= set(row):
                raise ContractError(
                    f"{path.name}: a record of {table.name} has a wrong column or lacks a required one",
                    remedy="name contract columns, all required ones among them",
                )
    return rows


def _first_codes(hospital: Hospital) -> dict[str, dict[str, list[str]]]:
    """System -> standard code -> the first local code of each; codes that the map leaves out are delivered as standard."""
    first_codes: dict[str, dict[str, list[str]]] = {}
    used = _sample_rows(load_contract().version)
    inverted = inverted_maps(hospital)
    for table in load_contract().tables:
        for column in table.columns:
            system = column.code_system
            if system in inverted:
                local_codes = first_codes.setdefault(system, {k: v[:1] for k, v in inverted[system].items()})
                for row in used[table.name]:
                    if column.name in row:
                        local_codes.setdefault(row[column.name], [row[column.name]])
    return first_codes


def _typed(value: Any, column: Column, hospital: Hospital, dialect: Dialect) -> Any:
    if value is None:
        return None
    if column.type == "datetime":
        return int((value - _EPOCH).total_seconds())
    if column.type in ("string", "code"):
        return str(value).replace("{finess}", hospital.finess).replace("{separator}", dialect.delimiter)
    return float(value) if column.type == "decimal" else value


def _as_recorded(hospital: Hospital, row: dict[str, Any]) -> dict[str, Any]:
    """A record with its dose, if any, as the hospital says that it records doses of combinations."""
    if not {"drug_code", "dose", "dose_unit", "route"} <= set(row):
        return row
    return {
        **row,
        "dose": recorded_dose(hospital, row["drug_code"], row["route"], row["dose"], row["dose_unit"]),
    }


def sample_text(
    hospital: Hospital, table: Table, dialect: Dialect, rows: list[dict[str, Any]], operations: list[str] | None = None
) -> pl.DataFrame:
    """Records of a table as the hospital would write them, own headers included; ``operations`` makes them a delta's."""
    rows = [_as_recorded(hospital, row) for row in rows]
    columns = [
        pl.Series(
            c.name,
            [_typed(row.get(c.name), c, hospital, dialect) for row in rows],
            dtype=pl.Int64 if c.type == "datetime" else _POLARS.get(c.type, pl.String),
        )
        for c in table.columns
    ]
    frame = pl.DataFrame(columns)
    if operations is not None:
        updated = [int((datetime(2025, 4, 2, 8) - _EPOCH).total_seconds())] * len(rows)
        frame = frame.with_columns(
            pl.Series(OPERATION_COLUMN, operations), pl.Series(UPDATED_COLUMN, updated, dtype=pl.Int64)
        )
    # each standard code has one local code here, so that the writer draws nothing
    text = as_text(frame, table, dialect, _first_codes(hospital), np.random.default_rng(0))
    return with_own_headers(text, hospital, table.name)


def sample_delivery(hospital: Hospital) -> Sample:
    """The sample delivery of a hospital: every table that it delivers, in its dialects; the same bytes each time."""
    contract = load_contract()
    entries: list[ManifestFile] = []
    files: dict[str, bytes] = {}
    for table in _tables(hospital, contract):
        dialect = hospital.dialects[hospital.table_dialect[table.name]]
        rows = _sample_rows(contract.version)[table.name]
        data = file_bytes(sample_text(hospital, table, dialect, rows), dialect)
        path = f"{table.name}.csv{'.gz' if dialect.compression == 'gzip' else ''}"
        files[path] = data
        digest = hashlib.sha256(data).hexdigest()
        entries.append(ManifestFile(table.name, path, digest, len(data), len(rows), dialect.name))
    manifest = Manifest(
        contract_version=contract.version,
        hospital=hospital.id,
        finess=hospital.finess,
        delivery_id=SAMPLE_ID,
        sequence=1,
        extracted_at=datetime(2025, 4, 1, 3, 15, tzinfo=ZoneInfo(hospital.timezone)),
        kind="full",
        period_from=_SAMPLE_PERIOD[0],
        period_to=_SAMPLE_PERIOD[1],
        files=tuple(entries),
    )
    return Sample(manifest, files)


def _tables(hospital: Hospital, contract: Contract) -> list[Table]:
    return [t for t in contract.tables if t.name in hospital.table_dialect]


# ---------------------------------------------------------------- the guide


def readable(fmt: str, language: str) -> str:
    """A strptime format as people read it: ``%d/%m/%Y`` is JJ/MM/AAAA in French."""
    for mark in _MARKS:
        fmt = fmt.replace(f"%{mark}", _said(language, f"mark_{mark}"))
    return fmt


def _said(language: str, key: str, /, **values: Any) -> str:
    return say(language, f"guide.{key}", **values)


def _format(column: Column, dialect: Dialect, language: str) -> str:
    if column.type in ("date", "datetime"):
        formats = dialect.date_formats if column.type == "date" else dialect.datetime_formats
        return _said(language, "or").join(f"`{readable(f, language)}`" for f in formats)
    if column.type == "decimal":
        sign = _said(language, "decimal_comma" if dialect.decimal == "," else "decimal_point")
        return f"{_said(language, 'type_decimal')}, {sign}"
    unit = column.unit_fr if language == "fr" else column.unit_en
    return _said(language, f"type_{column.type}") + (f", {unit}" if unit else "")


def _label(thing: Any, language: str) -> str:
    return str(getattr(thing, f"label_{language}"))


def _code(text: str) -> str:
    """A code span for a Markdown table."""
    return f"`{text}`".replace("|", "\\|")


def _columns(hospital: Hospital, table: Table, dialect: Dialect, language: str) -> list[dict[str, Any]]:
    text = sample_text(hospital, table, dialect, _sample_rows(load_contract().version)[table.name])
    columns = []
    for column, header in zip(table.columns, text.columns, strict=True):
        examples = text[header].drop_nulls().to_list()
        targets = [column.references] if column.references else []
        targets += [
            f"{r.table}.{r.to[r.columns.index(column.name)]}"
            for r in table.composite_references
            if column.name in r.columns
        ]
        columns.append(
            {
                "header": header,
                "name": column.name,
                "renamed": header != column.name,
                "format": _format(column, dialect, language),
                "required": column.required,
                "key": column.name in table.key,
                "identifier": column.pseudonym is not None,
                "label": _label(column, language),
                "example": _code(examples[0]) if examples else "",
                "system": column.code_system or "",
                "references": ", ".join(targets),
            }
        )
    return columns


def _system(hospital: Hospital, codes: CodeSystem, language: str) -> dict[str, Any]:
    path = hospital.code_maps.get(codes.name)
    pairs = list(read_code_map(path).items()) if path else []
    return {
        "name": codes.name,
        "label": _label(codes, language),
        "file": f"{hospital.id}/{path.name}" if path else "",
        "pairs": [(_code(a), _code(b)) for a, b in pairs[:_SHOWN_CODES]],
        "more": max(0, len(pairs) - _SHOWN_CODES),
        "values": [_code(v) for v in codes.values[:_SHOWN_CODES]],
        "more_values": max(0, len(codes.values) - _SHOWN_CODES),
        "aliases": bool(codes.aliases),
        "spellings": ", ".join(_said(language, "spelling", spelling=_code(a), code=_code(b)) for a, b in codes.aliases),
        "pattern": _code(codes.pattern) if codes.pattern else "",
    }


def _dialect(dialect: Dialect, tables: list[str], language: str) -> dict[str, Any]:
    either, nothing = _said(language, "or"), _said(language, "nothing")
    return {
        "name": dialect.name,
        "tables": tables,
        "encoding": _said(language, f"encoding_{dialect.encoding}"),
        "delimiter": _said(language, f"delimiter_{_DELIMITERS[dialect.delimiter]}").replace("|", "\\|"),
        "decimal": f"`{dialect.decimal}`",
        "compression": "gzip (`.csv.gz`)" if dialect.compression == "gzip" else _said(language, "uncompressed"),
        "dates": either.join(f"`{readable(f, language)}`" for f in dialect.date_formats),
        "datetimes": either.join(f"`{readable(f, language)}`" for f in dialect.datetime_formats),
        "month_names": any("%b" in f for f in (*dialect.date_formats, *dialect.datetime_formats)),
        "offset": all("%z" in f for f in dialect.datetime_formats),
        "nulls": either.join(_code(v) if v else nothing for v in dialect.null_values),
        "null": null_text(dialect),
        "placeholders": ", ".join(f"`{day.isoformat()}`" for day in dialect.placeholder_dates),
    }


def _excerpt(hospital: Hospital, table: Table, operations: list[str] | None) -> str:
    """The sample's first lines of a table, decoded, as they stand in the file."""
    dialect = hospital.dialects[hospital.table_dialect[table.name]]
    rows = _sample_rows(load_contract().version)[table.name][:2]
    plain = replace(dialect, encoding="utf-8", compression="none")
    return file_bytes(sample_text(hospital, table, dialect, rows, operations), plain).decode().rstrip("\n")


def _sections(hospital: Hospital, contract: Contract, language: str) -> list[dict[str, Any]]:
    rules = load_rules("landed")
    sections = []
    for table in _tables(hospital, contract):
        dialect = hospital.dialects[hospital.table_dialect[table.name]]
        headers = {c: name for name, c in hospital.columns_of(table.name).items()}
        period = table.period_column
        sections.append(
            {
                "name": table.name,
                "label": _label(table, language),
                "grain": table.grain_fr if language == "fr" else table.grain_en,
                "dialect": dialect.name,
                "key": [headers.get(k, k) for k in table.key],
                "period": headers.get(period, period) if period else "",
                "columns": _columns(hospital, table, dialect, language),
                "rules": [
                    {"id": r.id, "label": _label(r, language), "action": r.action}
                    for r in rules[table.name]
                    if not r.implied
                ],
                "excerpt": _excerpt(hospital, table, None),
            }
        )
    return sections


def _doses(hospital: Hospital, language: str) -> str:
    """What the hospital records of combinations, and of which drugs something else."""
    told = {basis: _said(language, f"dose_{basis}") for basis in ("substance", "product")}
    yours = told[hospital.combination_doses]
    for drug, basis in sorted(hospital.combination_doses_by_drug.items()):
        yours = _said(language, "dose_of_drug", yours=yours, drug=drug, dose=told[basis])
    return yours


def guide(hospital: Hospital, language: str) -> str:
    """The delivery guide of a hospital as Markdown, in ``fr`` or ``en``."""
    contract = load_contract()
    tables = _tables(hospital, contract)
    used = dict.fromkeys(c.code_system for t in tables for c in t.columns if c.code_system)
    shown = next((t for t in tables if t.period_column and len(t.key) == 1), tables[0])  # the delta's example
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701 - Markdown, of reviewed registry and contract texts
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template("guide.md.j2").render(
        hospital=hospital,
        version=contract.version,
        dialects=[
            _dialect(d, [t.name for t in tables if hospital.table_dialect[t.name] == d.name], language)
            for d in hospital.dialects.values()
        ],
        tables=_sections(hospital, contract, language),
        systems=[_system(hospital, code_systems()[s], language) for s in used],
        errors=[
            (code, say(language, f"refusal.{code}.what"), say(language, f"refusal.{code}.remedy"))
            for code in explained_errors()
        ],
        doses=_doses(hospital, language),
        strict=f"{100 * mapped_share.STRICT:g}",
        other=f"{100 * mapped_share.OTHER:g}",
        say=partial(_said, language),
        delta={"table": shown.name, "text": _excerpt(hospital, shown, ["upsert", "delete"])},
        sample=sample_delivery(hospital).manifest,
    )


def write_guide(hospital: Hospital, folder: Path, languages: tuple[str, ...] = LANGUAGES) -> list[Path]:
    """Write ``guide.<language>.md`` and ``sample/`` (files, manifest last) into ``folder``; returns what was written."""
    written = []
    (folder / SAMPLE).mkdir(parents=True, exist_ok=True)
    for language in languages:
        path = folder / f"guide.{language}.md"
        path.write_text(guide(hospital, language), encoding="utf-8")
        written.append(path)
    sample = sample_delivery(hospital)
    for name, data in {**sample.files, NAME: (sample.manifest.to_json() + "\n").encode()}.items():
        (folder / SAMPLE / name).write_bytes(data)
        written.append(folder / SAMPLE / name)
    return written
