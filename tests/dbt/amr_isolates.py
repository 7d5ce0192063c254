"""2,000 isolates drawn at random, whose first isolates the AMR package (R, version 3.0.0) found: data of our own, flags of its.

``python tests/dbt/amr_isolates.py draw > isolates.csv`` writes the isolates, ``Rscript tests/dbt/amr_first_isolates.R isolates.csv
fixtures/amr_first_isolates.csv`` adds a column of 0 and 1 a method. The package knows days only and takes the first row of a tie, so
the rows stand in the order of docs/domain/isolates.md (time, most results, isolate number): what is compared is what it does by rule.
Its phenotype-based method is not compared: it orders the isolates of a person by how much was tested, not by time.
"""

from __future__ import annotations

import csv
import random
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from staging_world import hospital, link, moment

FIXTURE = Path(__file__).parent / "fixtures" / "amr_first_isolates.csv"
HOSPITAL = "h15"
SPECIES = ("B_ESCHR_COLI",) * 4 + ("B_KLBSL_PNMN", "B_STPHY_AURS", "B_PSDMN_AERG", "B_PROTS_MRBL")
DRUGS = ("CIP", "GEN", "MEM", "CTX")
BOUNDARIES = (0, 0, 1, 6, 7, 8, 13, 14, 15, 29, 30, 31, 364, 365, 366)
METHODS = ("patient", "m39", "ears_net", "glass", "episode_7", "episode_14", "episode_30", "episode_365")
Row = dict[str, str]


def draw(seed: int = 12, count: int = 2000) -> list[Row]:
    """Few persons and species, steps at the methods' boundaries, ties of day and of moment, one isolate in five untested."""
    rng = random.Random(seed)  # noqa: S311 - test data
    last: dict[tuple[str, str], datetime] = {}
    rows: list[Row] = []
    for n in range(2 * count):
        person, species = f"p{rng.randrange(120):03d}", rng.choice(SPECIES)
        before = last.get((person, species), datetime(2019, 1, 1) + timedelta(days=rng.randrange(700)))
        day = before.replace(hour=0) + timedelta(days=rng.choice(BOUNDARIES))
        taken = day + timedelta(hours=rng.choice((8, 8, 20)))
        last[person, species] = day
        tested = rng.random() > 0.2
        rows.append(
            {
                "isolate": f"i{n:04d}",
                "person": person,
                "species": species,
                "collected_at": f"{taken}",
                "day": f"{taken.date()}",
                "nature": rng.choice(("blood", "urine", "urine", "csf", "wound")),
                "number": str(rng.randrange(1, 4)),
                **{d: rng.choice(("S", "S", "R", "I", "")) if tested else "" for d in DRUGS},
            }
        )
    # ties of moment are told apart by number of results, then isolate number, then the results: no two rows stay alike
    kept = {(r["person"], r["species"], r["collected_at"], _results(r), r["number"]): r for r in rows}
    return sorted(
        list(kept.values())[:count],
        key=lambda r: (r["person"], r["species"], r["collected_at"], -_results(r), int(r["number"])),
    )


def _results(row: Row) -> int:
    return sum(row[d] != "" for d in DRUGS)


def read() -> list[Row]:
    with FIXTURE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def expected(rows: list[Row]) -> dict[tuple[str, str], set[str]]:
    """(among, method) -> the isolates that the package calls first."""
    return {
        (among, method): {r["isolate"] for r in rows if r[f"{among}_{method}"] == "1"}
        for among in ("all_isolates", "tested")
        for method in METHODS
    }


def tables(rows: list[Row]) -> dict[str, list[dict[str, Any]]]:
    """The same isolates as staging rows of one hospital outside the study; each isolate in a specimen of its own name."""
    found: dict[str, list[dict[str, Any]]] = {
        "hospital": [hospital(HOSPITAL, member=False)],
        "patient_map": [link(HOSPITAL, p, f"{HOSPITAL}-{p}") for p in sorted({r["person"] for r in rows})],
        "specimen": [],
        "isolate": [],
        "susceptibility": [],
    }
    for r in rows:
        key = {"hospital_id": HOSPITAL, "specimen_id": r["isolate"], "stale_correction": False}
        found["specimen"].append(
            {
                **key, "draw_id": r["isolate"], "patient_id": r["person"], "nature": r["nature"], "purpose": "diagnostic",
                **moment("collected_at", r["collected_at"]),
            }
        )  # fmt: skip
        key["isolate_number"] = int(r["number"])  # type: ignore[assignment]
        code = {"organism_code": r["species"], "organism_code_source": "x", "status": "final"}
        found["isolate"].append({**key, **code})
        for drug in DRUGS:
            if r[drug]:
                result = {
                    "category": r[drug],
                    "category_source": r[drug],
                    "guideline": "eucast",
                    "guideline_version": "2024",
                }
                found["susceptibility"].append({**key, "drug_code": drug, "drug_code_source": drug, **result})
    return found


if __name__ == "__main__":
    drawn = draw()
    writer = csv.DictWriter(sys.stdout, list(drawn[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(drawn)
