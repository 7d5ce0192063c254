"""The hospital registry: one reviewed YAML file per hospital, beside its code maps. Nothing else knows a hospital by name.

A hospital's file tells how its warehouse writes files (dialects), how it names columns, and which CSV in
``code_maps/<hospital>/`` turns its local codes into standard ones.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jsonschema
import yaml

from estuaire.base import json_schema, yaml_text
from estuaire.base.errors import ContractError, UnknownHospital
from estuaire.base.settings import PROJECT_ROOT
from estuaire.contract.tables import Contract, load_contract

FOLDER = Path(__file__).parent
GROUP = "group"  # what marts call all hospitals of the study together: no hospital's id (those are h and a number)
_DAY = re.compile(r"(?=.*%d)(?=.*%[mbB])(?=.*%Y)")
_TIME = re.compile(r"%H")
_GUESSED = re.compile(r"%y|%[SfM]Z")  # a century, or a time zone, that the format would leave to be guessed
_LONGEST_FIELD = 500  # characters of a code map: the ledger's index holds local codes
SUBSTANCE = "substance"
STRENGTHS = PROJECT_ROOT / "dbt_project" / "seeds" / "reference" / "combination_strength.csv"
CODE_MAP_HEADER = ["local_code", "standard_code", "reviewer", "reviewed_on"]


@dataclass(frozen=True)
class Dialect:
    """How a hospital writes a file. Formats are strptime's; the first that reads a value is taken."""

    name: str
    encoding: str
    delimiter: str
    decimal: str
    date_formats: tuple[str, ...]
    datetime_formats: tuple[str, ...]
    compression: str = "none"
    null_values: tuple[str, ...] = ("",)
    placeholder_dates: tuple[date, ...] = ()  # days that stand for nothing, of dates and of times


@dataclass(frozen=True)
class Guideline:
    """What a laboratory interprets by, on days of collection ``valid_from`` to ``valid_to`` (both included; None: until today)."""

    family: str
    version: str
    valid_from: date
    valid_to: date | None = None


@dataclass(frozen=True)
class OnePerson:
    """The most that one person's records hold together (docs/domain/isolates.md): an identifier with more names nobody in particular.

    ``stays_at_once``: full stays, each with its discharge, open at one moment. ``patients_of_stays``: other patients whose stays the records
    name. ``units_at_once``, ``units_a_day``, ``specimens_a_day``: units that took specimens at one moment or on one day, specimens of a day.
    ``birth_years``: years of birth that the patient's versions bore. ``years_of_age``: completed years at a specimen or an admission.
    """

    stays_at_once: int = 3
    patients_of_stays: int = 3
    units_at_once: int = 3
    units_a_day: int = 8
    specimens_a_day: int = 60
    birth_years: int = 2
    years_of_age: int = 122


@dataclass(frozen=True)
class Hospital:
    """One hospital: ``study_member`` hospitals enter group totals; a ``shifted`` calendar has no real dates.

    ``combination_doses``: ``substance`` (doses of a combination are grams of what its DDD counts) or ``product`` (grams of the whole
    product); ``combination_doses_by_drug``: ATC code -> the same, where a drug differs. ``unknown_patients``: local identifiers that stand for
    nobody in particular, such as ANONYME; ``one_person``: the most that the records of an identifier hold that names somebody.
    ``rhythm_days``: days from one delivery to the next; None where none is agreed, and no delivery is late.
    """

    id: str
    finess: str
    name: str
    study_member: bool
    calendar: str
    timezone: str
    contact: str
    dialects: dict[str, Dialect]
    table_dialect: dict[str, str]
    table_columns: dict[str, dict[str, str]]
    code_maps: dict[str, Path] = field(default_factory=dict)
    fictional: bool = False
    open_data: bool = False
    guidelines: tuple[Guideline, ...] = ()
    combination_doses: str = SUBSTANCE
    combination_doses_by_drug: dict[str, str] = field(default_factory=dict)
    unknown_patients: tuple[str, ...] = ()
    one_person: OnePerson = OnePerson()
    rhythm_days: int | None = None

    def columns_of(self, table: str) -> dict[str, str]:
        """The hospital's own header names for a table -> contract names; a name not listed is the contract's."""
        return self.table_columns.get(table, {})


@dataclass(frozen=True, eq=False)
class Registry:
    """All hospitals, by id. One registry is itself alone, so that what is derived from it can be cached.

    ``wrong``: the hospitals whose file is wrong, and how. They are held back, each alone, and stand in ``hospitals`` again once it is
    mended.
    """

    hospitals: dict[str, Hospital]
    wrong: dict[str, ContractError] = field(default_factory=dict)

    def get(self, hospital: str) -> Hospital:
        """Raises UnknownHospital if the registry does not hold it, ContractError if its file is wrong."""
        try:
            return self.hospitals[hospital]
        except KeyError:
            if hospital in self.wrong:
                wrong = self.wrong[hospital]
                raise ContractError(wrong.what, remedy=wrong.remedy, hospital=hospital) from None
            raise UnknownHospital(
                "the registry does not hold this hospital",
                hospital=hospital,
                remedy="correct the hospital's name, or add its file to hospitals/ of the registry",
            ) from None


def parse_hospital(raw: Any, where: str, folder: Path, contract: Contract) -> Hospital:
    """A hospital from its YAML document.

    Raises:
        ContractError: wrong form, a table or column that the contract does not have, an unknown dialect or time zone.
    """
    try:
        json_schema.validate(raw, FOLDER / "hospital.schema.json")
    except jsonschema.ValidationError as error:
        of = error.schema if isinstance(error.schema, Mapping) and error.validator == "additionalProperties" else {}
        allowed = of.get("properties", {})
        listed = f"; allowed here: {', '.join(allowed)}" if allowed else ""
        raise ContractError(
            f"{where} at {error.json_path}: {error.message}",
            remedy=f"correct the file; {FOLDER / 'hospital.schema.json'} says the form{listed}",
        ) from error
    dialects = {name: _dialect(name, d, where) for name, d in raw["dialects"].items()}
    for name, described in raw["tables"].items():
        _check_table(name, described, dialects, where, contract)
    _check_zone_and_systems(raw, where, contract)
    doses = _combination_doses(raw.get("combination_doses", SUBSTANCE), where)
    maps = {s: folder / "code_maps" / raw["id"] / f for s, f in raw.get("code_maps", {}).items()}
    return Hospital(
        id=raw["id"],
        finess=raw["finess"],
        name=raw["name"],
        study_member=raw["study_member"],
        calendar=raw["calendar"],
        timezone=raw["timezone"],
        contact=raw["contact"],
        dialects=dialects,
        table_dialect={n: t["dialect"] for n, t in raw["tables"].items()},
        table_columns={n: dict(t.get("columns", {})) for n, t in raw["tables"].items()},
        code_maps=maps,
        fictional=raw.get("fictional", False),
        open_data=raw.get("open_data", False),
        combination_doses=doses.pop("default"),
        combination_doses_by_drug=doses,
        guidelines=_guidelines(raw.get("guidelines", ()), where),
        unknown_patients=tuple(raw.get("unknown_patients", ())),
        one_person=OnePerson(**raw.get("one_person_at_most", {})),
        rhythm_days=raw.get("rhythm_days"),
    )


def _dialect(name: str, d: Mapping[str, Any], where: str) -> Dialect:
    """Raises ContractError: a format that leaves something to be guessed, a placeholder that is no day."""
    dialect = Dialect(
        name=name,
        encoding=d["encoding"],
        delimiter=d["delimiter"],
        decimal=d["decimal"],
        date_formats=tuple(d["date_formats"]),
        datetime_formats=tuple(d["datetime_formats"]),
        compression=d.get("compression", "none"),
        null_values=tuple(d.get("null_values", [""])),
        placeholder_dates=_placeholders(d.get("placeholder_dates", ()), f"{where} at $.dialects.{name}"),
    )
    for key, formats in (("date_formats", dialect.date_formats), ("datetime_formats", dialect.datetime_formats)):
        wanted = (_DAY, _TIME) if key == "datetime_formats" else (_DAY,)
        if not all(mark.search(text) for text in formats for mark in wanted):
            raise ContractError(
                f"{where} at $.dialects.{name}.{key}: a format lacks its day, month, year or hour",
                remedy="write strptime's marks, such as %d/%m/%Y or %Y-%m-%dT%H:%M:%S",
            )
        guessed = next((text for text in formats if _GUESSED.search(text)), None)
        if guessed:
            raise ContractError(
                f"{where} at $.dialects.{name}.{key}: the format {guessed} leaves the century or the time zone to be guessed",
                remedy="deliver years of four digits (%Y), and write %z where a time ends in Z or an offset",
            )
    return dialect


def _check_table(
    name: str, t: Mapping[str, Any], dialects: Mapping[str, Dialect], where: str, contract: Contract
) -> None:
    """Raises ContractError: a table, dialect or column that is not there, two columns of the hospital's for one of the contract's."""
    if name not in contract.names:
        raise ContractError(
            f"{where} at $.tables: the contract has no table {name}",
            remedy=f"name tables of the contract: {', '.join(contract.names)}",
        )
    table = contract.table(name)
    if t["dialect"] not in dialects:
        raise ContractError(
            f"{where} at $.tables.{name}.dialect: table {name} names the dialect {t['dialect']}, not defined",
            remedy="define it under dialects",
        )
    allowed = {c.name for c in table.columns} | {"op", "source_updated_at"}
    columns = t.get("columns", {})
    for source, target in columns.items():
        if target not in allowed:
            turned = f"; it looks turned round: write `{target}: {source}`" if source in allowed else ""
            raise ContractError(
                f"{where} at $.tables.{name}.columns: the contract's table {name} has no column {target}",
                remedy=f"write your own name first, the contract's second, such as `IPP: patient_id`{turned}",
            )
    twice = sorted({target for target in columns.values() if list(columns.values()).count(target) > 1})
    if twice:
        raise ContractError(
            f"{where} at $.tables.{name}.columns: two of your columns are the contract's {', '.join(twice)}",
            remedy="name one column of yours for each",
        )


def _check_zone_and_systems(raw: Mapping[str, Any], where: str, contract: Contract) -> None:
    """Raises ContractError: an unknown time zone, or a code map of a system that the contract does not have."""
    try:
        ZoneInfo(raw["timezone"])
    except (KeyError, ValueError, OSError) as error:
        raise ContractError(
            f"{where} at $.timezone: unknown time zone", remedy="name an IANA zone such as Europe/Paris"
        ) from error
    systems = {c.code_system for t in contract.tables for c in t.columns}
    for system in raw.get("code_maps", {}):
        if system not in systems:
            raise ContractError(
                f"{where} at $.code_maps: the contract has no code system {system}",
                remedy="name a system of estuaire/contract/hospital/code_systems.yml",
            )


def _placeholders(raw: Any, where: str) -> tuple[date, ...]:
    """Raises ContractError: a day that does not exist."""
    try:
        return tuple(date.fromisoformat(day) for day in raw)
    except ValueError as error:
        raise ContractError(
            f"{where}.placeholder_dates: no such day", remedy="write days such as '9999-12-31'"
        ) from error


def _guidelines(raw: Any, where: str) -> tuple[Guideline, ...]:
    """The periods in order.

    Raises:
        ContractError: a day that does not exist, a period that ends before it begins, or two that overlap.
    """
    try:
        guidelines = sorted(
            (
                Guideline(
                    g["family"],
                    g["version"],
                    date.fromisoformat(g["valid_from"]),
                    date.fromisoformat(g["valid_to"]) if "valid_to" in g else None,
                )
                for g in raw
            ),
            key=lambda g: g.valid_from,
        )
    except ValueError as error:
        raise ContractError(
            f"{where} at $.guidelines: no such day", remedy="write days such as '2024-01-01'"
        ) from error
    ends = [g.valid_to or date.max for g in guidelines]
    if any(end < g.valid_from for g, end in zip(guidelines, ends, strict=True)) or any(
        end >= after.valid_from for end, after in zip(ends, guidelines[1:], strict=False)
    ):
        raise ContractError(
            f"{where} at $.guidelines: a period ends before it begins, or two overlap",
            remedy="give each period its valid_to, before the valid_from of the next",
        )
    return tuple(guidelines)


@lru_cache(maxsize=1)
def combinations() -> frozenset[str]:
    """ATC codes of the combinations whose product and substance differ (seed combination_strength.csv)."""
    with STRENGTHS.open(encoding="utf-8", newline="") as file:
        return frozenset(row["atc"] for row in csv.DictReader(file))


def _combination_doses(raw: Any, where: str) -> dict[str, str]:
    """``default`` and each ATC code -> substance or product.

    Raises:
        ContractError: a code that is no combination of the seed of strengths.
    """
    doses = {"default": raw} if isinstance(raw, str) else dict(raw)
    for atc in doses.keys() - combinations() - {"default"}:
        raise ContractError(
            f"{where} at $.combination_doses.{atc}: {atc} is no combination whose product and substance differ",
            remedy=f"name ATC codes of {STRENGTHS.name}: {', '.join(sorted(combinations()))}",
        )
    return doses


def read_code_map(path: Path) -> dict[str, str]:
    """Local code -> standard code, from a reviewed CSV (``local_code,standard_code,reviewer,reviewed_on``) in UTF-8, with or without a
    byte order mark.

    Raises:
        ContractError: missing file, another encoding, no CSV, wrong header, an empty or doubled local code, an unreviewed line.
    """
    where = f"{path.parent.name}/{path.name}"
    rows = _rows(path, where)
    if not rows or [v.strip() for v in rows[0][1]] != CODE_MAP_HEADER:
        raise ContractError(
            f"code map {where} line 1: wrong header",
            remedy=f"begin with {','.join(CODE_MAP_HEADER)}, separated by commas",
        )
    result: dict[str, str] = {}
    for line, row in rows[1:]:
        if not any(v.strip() for v in row):
            raise ContractError(f"code map {where} line {line} is empty", remedy="take the line away")
        if len(row) != 4 or not all(v.strip() for v in row):
            raise ContractError(f"code map {where} line {line} is not complete", remedy="fill all four columns")
        if max(map(len, row)) > _LONGEST_FIELD:
            raise ContractError(
                f"code map {where} line {line} holds a field of more than {_LONGEST_FIELD} characters",
                remedy="look for a quote that is not closed, or correct the code",
            )
        if row[0] in result:
            raise ContractError(f"code map {where} line {line} repeats a local code", remedy="keep one line per code")
        result[row[0]] = row[1]
    return result


def _rows(path: Path, where: str) -> list[tuple[int, list[str]]]:
    """(line, fields) of each record of a code map.

    Raises:
        ContractError: it is missing, cannot be read, or is no CSV in UTF-8.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise ContractError(f"the code map {where} is missing", remedy=f"add {path}") from error
    except OSError as error:
        raise ContractError(
            f"the code map {where} cannot be read ({error.strerror})", remedy="mend its rights, or the path"
        ) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ContractError(
            f"code map {where} line {line} is not in UTF-8; {_guessed_encoding(raw)}",
            remedy="save it as 'CSV UTF-8', or convert it (iconv -f WINDOWS-1252 -t UTF-8)",
        ) from None
    reader, rows = csv.reader(io.StringIO(text, newline=""), strict=True), []
    line = 1
    try:
        for row in reader:
            rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error:
        raise ContractError(
            f"code map {where} line {line} is no CSV: a quote is not closed, or stands inside a field",
            remedy="double a quote that belongs to a code, and put the field in quotes",
        ) from None
    return rows


def _guessed_encoding(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it looks like UTF-16, as a spreadsheet's 'Unicode text'"
    return "it looks like windows-1252 (cp1252), as a spreadsheet's plain 'CSV'"


def _document(file: Path) -> Any:
    """Raises ContractError, with the line, where the file is no YAML."""
    try:
        return yaml_text.read(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise ContractError(f"{file.name}{line} is no YAML in UTF-8", remedy="correct the file") from error


def _hospital_of(file: Path, folder: Path, contract: Contract) -> Hospital:
    """The hospital that a file describes.

    Raises:
        ContractError: the file is wrong, cannot be read, or its name is not the hospital's id.
    """
    try:
        hospital = parse_hospital(_document(file), file.name, folder, contract)
    except ContractError:
        raise
    except Exception as error:  # whatever a file holds (a tag, an endless alias, no right to read) ends at its hospital
        raise ContractError(
            f"{file.name} cannot be read as a hospital ({type(error).__name__})", remedy="correct the file"
        ) from error
    if file.stem != hospital.id:
        taken = (file.parent / f"{hospital.id}.yml").exists()
        raise ContractError(
            f"{file.name} at $.id: {file.name} describes {hospital.id}"
            + (f", which {hospital.id}.yml describes already" if taken else ""),
            remedy="give it an id of its own, and that name" if taken else f"name it {hospital.id}.yml",
        )
    return hospital


@lru_cache(maxsize=4)
def load_registry(folder: Path | None = None) -> Registry:
    """Every hospital of ``folder`` (default: this package), checked. A file that is wrong, or whose name is not its hospital's id, holds
    back that hospital (``Registry.wrong``); of two hospitals with one FINESS number it is the later file's. Code maps are read where
    they are used (``estuaire.contract.codes``).

    Raises:
        ContractError: there is no hospital's file at all.
    """
    folder = folder or FOLDER
    contract = load_contract()
    hospitals: dict[str, Hospital] = {}
    wrong: dict[str, ContractError] = {}
    finess: dict[str, str] = {}
    for file in sorted((folder / "hospitals").glob("*.yml")):
        try:
            hospital = _hospital_of(file, folder, contract)
            if hospital.finess in finess:
                raise ContractError(
                    f"{file.name} at $.finess: {hospital.id} and {finess[hospital.finess]} share a FINESS number",
                    remedy="correct one",
                )
        except ContractError as error:
            wrong[file.stem] = error
            continue
        finess[hospital.finess] = hospital.id
        hospitals[hospital.id] = hospital
    if not hospitals and not wrong:
        raise ContractError("the registry is empty", remedy=f"add a hospital's file to {folder}/hospitals")
    return Registry(hospitals, wrong)
