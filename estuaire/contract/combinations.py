"""Combinations of an antibacterial with another substance: the amount of the whole product that holds an amount of what the DDD counts.

The other way round than the warehouse (conformed/dose_day.sql), for what writes doses as a hospital records them: sample deliveries and the
simulator. Strengths: seed combination_strength.csv; meaning of a dose: docs/domain/consumption.md.
"""

from __future__ import annotations

import csv
from decimal import Decimal
from functools import lru_cache

from estuaire.contract.registry import STRENGTHS, Hospital

_ROUTE_GROUP = {
    "oral": "oral",
    "intravenous": "parenteral",
    "intramuscular": "parenteral",
    "subcutaneous": "parenteral",
}
_GRAMS = {"g": Decimal(1), "mg": Decimal("0.001")}


@lru_cache(maxsize=1)
def _strengths() -> dict[tuple[str, str], tuple[bool, dict[Decimal, Decimal]]]:
    """(ATC code, route group) -> whether one ratio holds for all, and grams of substance -> of product, the largest."""
    strengths: dict[tuple[str, str], tuple[bool, dict[Decimal, Decimal]]] = {}
    with STRENGTHS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["product_g"]:
                _, of = strengths.setdefault((row["atc"], row["route_group"]), (row["fixed_ratio"] == "true", {}))
                substance = Decimal(row["substance_g"])
                of[substance] = max(Decimal(row["product_g"]), of.get(substance, Decimal(0)))
    return strengths


def recorded_dose(hospital: Hospital, atc: str, route: str, dose: float, unit: str) -> float:
    """``dose`` (of the substance that the DDD counts, in ``unit``) as the hospital records it: of the product where its registry says so
    and a strength is known, else as it is."""
    basis = hospital.combination_doses_by_drug.get(atc, hospital.combination_doses)
    fixed, of = _strengths().get((atc, _ROUTE_GROUP.get(route, "")), (False, {}))
    if basis != "product" or not of or unit not in _GRAMS:
        return dose
    substance = Decimal(str(dose)) * _GRAMS[unit]
    if substance in of:
        product = of[substance]
    elif fixed:
        known, whole = next(iter(of.items()))
        product = substance * whole / known
    else:
        return dose
    return float(product / _GRAMS[unit])
