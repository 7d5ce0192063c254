"""How much of what the hospital writes leads to a standard code, by records: what the hospital checks before it delivers."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from estuaire.contract.codes import SEEDS, code_systems, hospital_map
from estuaire.contract.registry import Hospital

# what is measured -> code system, files and the column of the hospital's own code
MEASURED = {
    "organism": ("organism", ("isolate",), "organism_code"),
    "drug tested": ("antimicrobial_agent", ("susceptibility",), "drug_code"),
    "drug": ("drug", ("prescription", "administration"), "drug_code"),
    "laboratory test": ("laboratory_test", ("lab_result",), "test_code"),
    "specimen": ("specimen_nature", ("specimen",), "nature"),
}
ANTIBACTERIALS = "systemic antibacterial"


@dataclass(frozen=True)
class Share:
    """Records whose code is mapped, of all; ``unmapped`` is code -> records, the most frequent first."""

    what: str
    records: int
    mapped: int
    unmapped: dict[str, int]

    @property
    def percent(self) -> float:
        return 100.0 * self.mapped / self.records if self.records else 100.0

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "percent": round(self.percent, 2)}


def shares(delivery: Path, hospital: Hospital) -> list[Share]:
    """One share per vocabulary of the written delivery, and one of the systemic antibacterials alone.

    Of those the denominator is: records of a drug that is mapped to an antibacterial of the reference, and records of an unmapped drug
    whose name holds the name of one.
    """
    vocabulary_shares = []
    for what, (system, tables, column) in MEASURED.items():
        written = Counter(code for table in tables for code in _codes(delivery / f"{table}.csv", column))
        vocabulary_shares.append(_share(what, hospital, system, written))
        if what == "drug":
            vocabulary_shares.append(_share(ANTIBACTERIALS, hospital, system, _antibacterials(hospital, written)))
    return vocabulary_shares


def _codes(path: Path, column: str) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="") as rows:
        yield from (row[column] for row in csv.DictReader(rows) if row[column])


def _share(what: str, hospital: Hospital, system: str, written: Counter[str]) -> Share:
    codes, known = code_systems()[system], hospital_map(hospital, system)
    unmapped = {c: n for c, n in written.most_common() if codes.normal(c) not in known and not codes.is_standard(c)}
    records = written.total()
    return Share(what, records, records - sum(unmapped.values()), unmapped)


def _antibacterials(hospital: Hospital, written: Counter[str]) -> Counter[str]:
    with (SEEDS / "antimicrobial.csv").open(encoding="utf-8", newline="") as rows:
        seed = list(csv.DictReader(rows))
    atc = {row["atc"] for row in seed}
    named = re.compile(r"\b(" + "|".join(re.escape(row["name_en"].upper()) for row in seed if row["ab"]) + r")\b")
    codes, known = code_systems()["drug"], hospital_map(hospital, "drug")
    return Counter(
        {
            code: n
            for code, n in written.items()
            if (known[codes.normal(code)] in atc if codes.normal(code) in known else named.search(code.upper()))
        }
    )
