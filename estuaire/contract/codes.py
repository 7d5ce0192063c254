"""Code systems: what a standard code is, and each hospital's map from its own codes."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from estuaire.base import yaml_text
from estuaire.base.errors import ContractError, EstuaireError
from estuaire.base.normal_text import compared
from estuaire.base.settings import PROJECT_ROOT
from estuaire.contract.registry import Hospital, Registry, read_code_map
from estuaire.contract.tables import FOLDER

SEEDS = PROJECT_ROOT / "dbt_project" / "seeds" / "reference"


@dataclass(frozen=True)
class CodeSystem:
    """The standard codes of a system: a list, or a pattern."""

    name: str
    values: tuple[str, ...]
    pattern: str
    zeros: bool
    dots: bool = False
    aliases: tuple[tuple[str, str], ...] = ()
    label_fr: str = ""
    label_en: str = ""

    def normal(self, code: str) -> str:
        """The form in which two spellings of a code are compared: that of ``estuaire.base.normal_text``, idle zeros and dots dropped."""
        text = compared(code)
        text = text.replace(".", "") if self.dots else text
        return text.lstrip("0") or text if self.zeros else text

    def is_standard(self, code: str) -> bool:
        return bool(re.fullmatch(self.pattern, code, re.ASCII)) if self.pattern else code in self.values


def _seeded(file: str, column: str) -> tuple[str, ...]:
    with (SEEDS / file).open(encoding="utf-8", newline="") as rows:
        return tuple(row[column] for row in csv.DictReader(rows))


@lru_cache(maxsize=1)
def code_systems() -> dict[str, CodeSystem]:
    """All code systems, by name."""
    raw = yaml_text.read((FOLDER / "code_systems.yml").read_text(encoding="utf-8"))
    return {
        name: CodeSystem(
            name,
            _seeded(d["seed"], d["column"]) if "seed" in d else tuple(d.get("values", ())),
            d.get("pattern", ""),
            d.get("zeros", False),
            d.get("dots", False),
            tuple(d.get("aliases", {}).items()),
            d["label"]["fr"],
            d["label"]["en"],
        )
        for name, d in raw.items()
    }


def hospital_map(hospital: Hospital, system: str) -> dict[str, str]:
    """Normal form of a hospital's code -> standard code, its map's lines before the standard codes themselves.

    Raises:
        ContractError: the map names a standard code that the system does not have, or two spellings of one code disagree.
    """
    codes = code_systems()[system]
    standard_forms = {codes.normal(v): v for v in codes.values} | {codes.normal(a): v for a, v in codes.aliases}
    path = hospital.code_maps.get(system)
    if path is None:
        return standard_forms
    code_map: dict[str, str] = {}
    where = f"{path.parent.name}/{path.name}"
    for line, (local, standard) in enumerate(read_code_map(path).items(), start=2):
        if not codes.is_standard(standard):
            near = difflib.get_close_matches(standard, codes.values, n=3)
            raise ContractError(
                f"code map {where} line {line}: '{standard}' is no standard code of {system}",
                remedy=f"write a standard code{', such as ' + ', '.join(near) if near else ''} (`estuaire codes {system}` lists them)",
            )
        if code_map.setdefault(codes.normal(local), standard) != standard:
            raise ContractError(
                f"code map {where} line {line}: another spelling of this local code has another standard code",
                remedy="keep one of the two lines",
            )
    return standard_forms | code_map


def standard_codes(hospital: Hospital, system: str, written: Iterable[str]) -> dict[str, str]:
    """Codes as records bear them -> standard code; those without one are left out.

    Raises:
        ContractError: see ``hospital_map``.
    """
    codes, known = code_systems()[system], hospital_map(hospital, system)
    standard_by_code = {}
    for text in written:
        normal = codes.normal(text)
        if normal in known:
            standard_by_code[text] = known[normal]
        elif codes.pattern and codes.is_standard(normal):
            standard_by_code[text] = normal
    return standard_by_code


def map_error(hospital: Hospital) -> ContractError | None:
    """What is wrong with a hospital's code maps; the first of it, None if nothing is."""
    try:
        for system in hospital.code_maps:
            hospital_map(hospital, system)
    except ContractError as error:
        return error
    return None


def registry_error(registry: Registry, hospital: str) -> EstuaireError | None:
    """Why a hospital is held back on our side: the registry does not hold it, its file is wrong, or a code map is; None if nothing is."""
    try:
        return map_error(registry.get(hospital))
    except EstuaireError as error:
        return error
