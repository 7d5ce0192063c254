"""The worklist: local codes that nobody has mapped, most frequent first, each with a suggested standard code.

A suggestion never maps anything: a reviewer accepts it, and the answer is a line of the hospital's code map with reviewer and day.
"""

from __future__ import annotations

import csv
import difflib
import io
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from estuaire.base import private_files, yaml_text
from estuaire.base.errors import SetupError
from estuaire.contract.codes import CodeSystem, code_systems
from estuaire.contract.registry import CODE_MAP_HEADER, FOLDER, Hospital, Registry, load_registry, read_code_map
from estuaire.stewardship.suggestions import CodeRefused, Suggestion, find_system, forget, suggest
from estuaire.stewardship.unmapped_codes import marts_of
from estuaire.storage.ledger import fetch
from estuaire.storage.platform import Platform


@dataclass
class Unmapped:
    """One local code of one system, over the hospitals that use it: hospital -> records. Best suggestion first.

    Attributes:
        columns: <table>.<column> -> records that bear it there.
        marts: published tables whose figures lack these records.
        blocked: hospitals whose newest records the gate of consolidated records keeps out.
    """

    code_system: str
    local_code: str
    records: int = 0
    hospitals: dict[str, int] = field(default_factory=dict)
    suggestions: list[Suggestion] = field(default_factory=list)
    columns: dict[str, int] = field(default_factory=dict)
    marts: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def worklist(
    platform: Platform, *, hospital: str | None = None, system: str | None = None, limit: int = 50
) -> list[Unmapped]:
    """Unmapped local codes, by the records that bear them over all hospitals (or over one), with suggestions.

    Two spellings of a code (case, idle zeros) are one entry, under the spelling most used. Of a hospital that the gate blocks they are
    those of its newest records, which are not in use yet.

    Raises:
        UnknownHospital, CodeRefused: the hospital or the system is not known.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    registry = platform.registry
    if hospital is not None:
        registry.get(hospital)
    if system is not None:
        find_system(system)
    known = code_systems()
    entries: dict[tuple[str, str], Unmapped] = {}
    for row in fetch(
        platform.database,
        "select hospital_id, code_system, local_code, records, columns, blocked from control.code_to_map "
        "where (%(hospital)s is null or hospital_id = %(hospital)s) and (%(system)s is null or code_system = %(system)s) "
        "order by records desc, hospital_id, code_system, local_code",
        {"hospital": hospital, "system": system},
    ):
        if row["code_system"] not in known:
            continue
        place = (row["code_system"], known[row["code_system"]].normal(row["local_code"]))
        entry = entries.setdefault(place, Unmapped(row["code_system"], row["local_code"]))
        entry.records += row["records"]
        entry.hospitals[row["hospital_id"]] = entry.hospitals.get(row["hospital_id"], 0) + row["records"]
        for column, records in row["columns"].items():
            entry.columns[column] = entry.columns.get(column, 0) + records
        if row["blocked"] and row["hospital_id"] not in entry.blocked:
            entry.blocked.append(row["hospital_id"])
    first = sorted(entries.values(), key=lambda e: (-e.records, e.code_system, e.local_code))[:limit]
    for entry in first:
        entry.marts = marts_of(entry.columns)
        entry.suggestions = suggest(registry, entry.code_system, entry.local_code, without=frozenset(entry.hospitals))
    return first


# ------------------------------------------------------------------------------------------------ a reviewed answer


@dataclass(frozen=True)
class Accepted:
    """A line that entered a code map. ``created``: the map is new, and the hospital's YAML names it now."""

    hospital: str
    code_system: str
    local_code: str
    standard_code: str
    reviewer: str
    reviewed_on: str
    file: Path
    created: bool


def accept(platform: Platform, hospital_id: str, system: str, local: str, standard: str, reviewer: str) -> Accepted:
    """Append a reviewed line to the hospital's code map; the next run rebuilds that hospital, its maps being part of its input.

    Raises:
        UnknownHospital: the registry does not hold the hospital.
        CodeRefused: unknown system; not a standard code; the local code is mapped or standard already; an empty or control character.
        SetupError: the registry's files cannot be written.
    """
    registry = platform.registry
    hospital = registry.get(hospital_id)
    codes = find_system(system)
    local, standard, reviewer = local.strip(), standard.strip(), reviewer.strip()
    for text, name in ((local, "local code"), (standard, "standard code"), (reviewer, "reviewer")):
        if not text or not text.isprintable():
            raise CodeRefused(f"the {name} is empty or not printable", remedy="give it as one line of text")
    if not codes.is_standard(standard):
        near = nearest(registry, codes, standard)
        hint = f"the nearest are {', '.join(near)}" if near else f"its codes follow {codes.pattern}"
        raise CodeRefused(
            f"'{standard}' is not a standard code of {system}",
            remedy=f"take one of `estuaire codes {system}`; {hint}",
            hospital=hospital_id,
        )
    if codes.normal(local) in {codes.normal(c) for c in (*codes.values, *(alias for alias, _ in codes.aliases))}:
        raise CodeRefused(
            f"'{local}' is a standard code of {system} itself", remedy="nothing to map", hospital=hospital_id
        )
    path = hospital.code_maps.get(system)
    for known, target in (read_code_map(path) if path else {}).items():
        if codes.normal(known) == codes.normal(local):
            raise CodeRefused(
                f"'{known}' is mapped already, to {target}",
                remedy=f"edit its line in {path} if that is wrong",
                hospital=hospital_id,
            )
    folder = platform.settings.registry_dir or FOLDER
    line = _csv_line([local, standard, reviewer, date.today().isoformat()])
    file = path or folder / "code_maps" / hospital_id / f"{system}.csv"
    try:
        if path is None:
            if file.exists():
                raise CodeRefused(
                    f"{file} is there, but the hospital's file does not name it",
                    remedy=f"name it in code_maps of {hospital_id}.yml, or remove it",
                    hospital=hospital_id,
                )
            _create_map(folder, hospital, system, file, line)
        else:
            text = file.read_text(encoding="utf-8-sig")
            private_files.replace(file, text + ("" if text.endswith("\n") else "\n") + line)
    except OSError as error:
        raise SetupError(
            f"{file} cannot be written ({error.strerror})", remedy="mend its rights, then try again"
        ) from error
    load_registry.cache_clear()
    forget()
    return Accepted(hospital_id, system, local, standard, reviewer, date.today().isoformat(), file, path is None)


def nearest(registry: Registry, codes: CodeSystem, text: str, count: int = 5) -> list[str]:
    """Standard codes that someone who wrote ``text`` may have meant: by what it names, then by its letters; nearest first."""
    named = [s.standard_code for s in suggest(registry, codes.name, text)]
    folded = {v.casefold(): v for v in codes.values}
    spelt = [folded[c] for c in difflib.get_close_matches(text.casefold(), folded, n=count, cutoff=0.0)]
    return list(dict.fromkeys([*named, *spelt]))[:count]


def _csv_line(values: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _create_map(folder: Path, hospital: Hospital, system: str, file: Path, line: str) -> None:
    described = folder / "hospitals" / f"{hospital.id}.yml"
    text = name_code_map(described.read_text(encoding="utf-8"), system, file.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    private_files.replace(
        file, ",".join(CODE_MAP_HEADER) + "\n" + line
    )  # first the map: a YAML that names a missing one is refused
    try:
        private_files.replace(described, text)
    except OSError:
        file.unlink()
        raise


def name_code_map(text: str, system: str, file: str) -> str:
    """A hospital's YAML with one more entry in ``code_maps``; every other character, comments too, stays.

    Raises:
        CodeRefused: the place for the entry cannot be found.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    node = next((v for k, v in (root.value if root else ()) if k.value == "code_maps"), None)
    if node is None:
        changed = text + ("" if text.endswith("\n") else "\n") + f"code_maps: {{{system}: {file}}}\n"
    elif node.flow_style:
        end = node.value[-1][1].end_mark.index if node.value else node.start_mark.index + 1
        changed = text[:end] + (", " if node.value else "") + f"{system}: {file}" + text[end:]
    else:
        last = node.value[-1][1].end_mark.index
        newline = text.find("\n", last)
        at = len(text) if newline < 0 else newline
        changed = f"{text[:at]}\n{' ' * node.value[0][0].start_mark.column}{system}: {file}{text[at:]}"
    expected = yaml_text.read(text)
    expected["code_maps"] = {**(expected.get("code_maps") or {}), system: file}
    try:
        same = yaml_text.read(changed) == expected
    except yaml.YAMLError:
        same = False
    if not same:
        raise CodeRefused(
            "the hospital's file could not be extended", remedy=f"add '{system}: {file}' to its code_maps by hand"
        )
    return changed
