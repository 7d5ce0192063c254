"""Names by which people write what the reference seeds code: the seeds' own, and the everyday names of ``estuaire/stewardship/names``."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from estuaire.contract.codes import SEEDS, code_systems

NAMES = Path(__file__).parent / "names"
_NON_LETTERS = re.compile(r"[a-z0-9]+")


def normal_name(text: str) -> str:
    """A name without case, accents and punctuation: words parted by one space.

    >>> normal_name(" Amoxicilline/acide  clavulanique")
    'amoxicilline acide clavulanique'
    """
    plain = unicodedata.normalize("NFKD", text.casefold().replace("œ", "oe").replace("æ", "ae"))
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return " ".join(_NON_LETTERS.findall(plain))


def rows(file: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV file with a header."""
    with file.open(encoding="utf-8", newline="") as text:
        yield from csv.DictReader(text)


def seed(name: str) -> Iterator[dict[str, str]]:
    """The rows of a reference seed."""
    return rows(SEEDS / f"{name}.csv")


@lru_cache(maxsize=1)
def accepted_organisms() -> dict[str, str]:
    """Organism code whose name is a synonym -> code of the accepted name."""
    return {row["organism_code"]: row["accepted_code"] for row in seed("organism_synonym")}


@lru_cache(maxsize=16)
def words(system: str, kind: str) -> dict[str, str]:
    """Words of a kind (``ignored``, ``refused``, ``written_for``...) -> what they are written for, empty where nothing."""
    return {
        row["word"]: row["written_for"]
        for row in rows(NAMES / "words.csv")
        if row["system"] == system and row["kind"] == kind
    }


@lru_cache(maxsize=16)
def seed_names(system: str) -> dict[str, frozenset[str]]:
    """Normal name -> standard codes that bear it; empty for a system without names.

    A species also goes by its abbreviated form ("E. coli"), which several genera may share.
    """
    codes_by_name: defaultdict[str, set[str]] = defaultdict(set)
    if system == "organism":
        for row in seed("organism"):
            codes_by_name[normal_name(row["name"])].add(row["organism_code"])
            if row["rank"] == "species" and row["genus"] and row["species"]:
                codes_by_name[normal_name(f"{row['genus'][0]} {row['species']}")].add(row["organism_code"])
        for row in rows(NAMES / "organisms.csv"):
            codes_by_name[row["name"]] = {row["organism_code"]}
    elif system in ("antimicrobial_agent", "drug"):
        known = set(code_systems()["antimicrobial_agent"].values)
        codes: defaultdict[str, set[str]] = defaultdict(set)  # agent -> codes of the system
        for row in seed("antimicrobial"):
            agent_codes = {row["atc"]} if system == "drug" else {row["ab"]} & known
            codes[row["ab"]] |= agent_codes
            for column in ("name_en", "name_fr", "ab"):
                if system == "drug" or column == "name_fr":
                    codes_by_name[normal_name(row[column])] |= agent_codes
        if system == "antimicrobial_agent":
            for row in seed("antimicrobial_agent"):
                codes[row["agent_code"]] = {row["agent_code"]}
                codes_by_name[normal_name(row["name"])].add(row["agent_code"])
                if row["atc"]:
                    codes_by_name[normal_name(row["atc"])].add(row["agent_code"])
        for row in rows(NAMES / "antimicrobials.csv"):
            if row["kind"] in ("name", "brand") and codes.get(row["agent_code"]):
                codes_by_name[row["name"]] |= codes[row["agent_code"]]
    else:
        codes_by_name.update({normal_name(v): {v} for v in code_systems()[system].values})
    codes_by_name.pop("", None)
    return {name: frozenset(held) for name, held in codes_by_name.items() if held}
