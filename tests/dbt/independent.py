"""The consumption mart computed again from docs/domain/consumption.md's words in plain Python, without SQL, the seed or the models."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import independent_coverage
import stay_ends

Rows = list[dict[str, Any]]
Cell = tuple[str, date, str, str, str]  # hospital, month, scope, grouping, item
SPARES_BESIDE_J01 = ("J04AB02", "P01AB", "A07AA12")
SCOPES = ("all", "esac", "spares")
PARENTERAL = ("intravenous", "intramuscular", "subcutaneous")


class Measure(NamedTuple):
    """Figures of a cell; all but ``covered`` are None where the month is not covered."""

    covered: bool
    patient_days: int | None = None
    ddd: Decimal | None = None
    days_of_therapy: int | None = None
    length_of_therapy: int | None = None
    doses: int | None = None
    doses_without_ddd: int | None = None
    doses_unmapped: int | None = None


class Drug(NamedTuple):
    """WHO facts of the drugs in the test worlds, written by hand: DDDs in grams unless ``unit`` says otherwise."""

    group: str
    oral: str | None
    parenteral: str | None
    aware: str
    unit: str = "g"
    aware_injected: str | None = None


DRUGS = {
    "J01DD04": Drug("Cephalosporins (3rd gen.)", None, "2", "Watch"),
    "J01XD01": Drug("Imidazoles", "2", "1.5", "Access"),
    "J01CR02": Drug("Beta-lactams/penicillins", "1.5", "3", "Access"),
    "J01CR05": Drug("Beta-lactams/penicillins", None, "14", "Watch"),
    "J01CE01": Drug("Beta-lactams/penicillins", None, "3.6", "Access"),
    "J01EE01": Drug("Sulfonamides with trimethoprim", "4", "4", "Access", "{unit_dose}"),
    "J01XB01": Drug("Polymyxins", "9", "9", "Reserve", "[MIU]"),
    "J01XX01": Drug("Phosphonics", "3", "8", "Watch", aware_injected="Reserve"),
    "J01MA02": Drug("Fluoroquinolones", "1", "0.8", "Watch"),
    "P01AB01": Drug("Imidazoles", "2", "1.5", "Access"),
    "J04AB02": Drug("Rifamycins", "0.6", "0.6", "Watch"),
    "A07AA09": Drug("Glycopeptides", "2", "2", "Watch"),
    "A07AA12": Drug("Macrocycles", "0.4", None, "Watch"),
}
INHALED = {("J01XB01", "inhalation"): "3"}  # in the unit of the drug's DDD
GRAMS = {"g": Fraction(1), "mg": Fraction(1, 1000)}
MILLIONS = {"[MIU]": Fraction(1), "[IU]": Fraction(1, 10**6)}


def in_scope(scope: str, atc: str) -> bool:
    if scope == "esac":
        return atc.startswith("J01")
    if scope == "spares":
        return atc.startswith(("J01", *SPARES_BESIDE_J01))
    return True


def aware_class(atc: str, route: str | None) -> str:
    drug = DRUGS[atc]
    if drug.aware_injected is None or route == "oral":
        return drug.aware
    return drug.aware_injected if route in PARENTERAL else "unclassified"


def in_ddd(row: dict[str, Any]) -> Fraction | None:
    """DDDs of one dose; None if it cannot be told."""
    drug = DRUGS[row["drug_code"]]
    if row["route"] == "oral":
        ddd = drug.oral
    elif row["route"] in PARENTERAL:
        ddd = drug.parenteral
    else:
        ddd = INHALED.get((row["drug_code"], row["route"]))
    if ddd is None or not row["dose"]:
        return None
    amount, unit = Fraction(str(row["dose"])), row["dose_unit"]
    if drug.unit == "g" and unit in GRAMS:
        amount *= GRAMS[unit]
    elif row["drug_code"] == "J01CE01" and unit in MILLIONS:
        amount *= MILLIONS[unit] * Fraction("0.6")
    elif drug.unit == "[MIU]" and unit in MILLIONS:
        amount *= MILLIONS[unit]
    elif unit != drug.unit:
        return None
    return amount / Fraction(ddd)


def rounded(value: Fraction) -> Decimal:
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return exact.quantize(Decimal("0.0001"), ROUND_HALF_UP)


def mart(world: dict[str, Rows]) -> dict[Cell, Measure]:
    """Measures of every cell, for hospitals and for the group."""
    persons = {(r["hospital_id"], r["patient_id"]): r["patient_key"] for r in world["patient_map"]}

    def person(row: dict[str, Any]) -> Any:
        key = (row["hospital_id"], row["patient_id"])
        return persons.get(key, key)

    ends = stay_ends.ends(world)

    def end(s: dict[str, Any]) -> Any:
        return ends[s["hospital_id"], s["stay_id"]]

    nights = set()
    for s in world["stay"]:
        day = s["admitted_at_local"].date()
        while s["stay_type"] == "full" and day < end(s).date():
            nights.add((s["hospital_id"], person(s), day))
            day += timedelta(days=1)

    given: Rows = []
    unmapped: Counter[tuple[str, date]] = Counter()
    for a in world["administration"]:
        own = [s for s in world["stay"] if s["hospital_id"] == a["hospital_id"] and person(s) == person(a)]
        inside = any(s["stay_type"] == "full" and s["admitted_at_local"] <= a["given_at_local"] <= end(s) for s in own)
        if a["status"] == "given" and inside:
            if a["drug_code"] is None:
                unmapped[a["hospital_id"], first(a["given_at_local"].date())] += 1
            else:
                given.append(a)

    cells: dict[Cell, Rows] = defaultdict(list)
    for a in given:
        month = first(a["given_at_local"].date())
        for scope in SCOPES:
            if in_scope(scope, a["drug_code"]):
                for grouping, item in (
                    ("total", "all"),
                    ("class", DRUGS[a["drug_code"]].group),
                    ("atc", a["drug_code"]),
                    ("aware", aware_class(a["drug_code"], a["route"])),
                ):
                    cells[a["hospital_id"], month, scope, grouping, item].append(a)

    recorded = {(a["hospital_id"], a["given_at_local"].date()) for a in world["administration"]}
    recorded |= {(r["hospital_id"], r["given_on"]) for r in world.get("administration_day", [])}
    occupied = {(h, night) for h, _, night in nights}

    def covered(h: str, month: date) -> bool:
        patients = [d for g, d in occupied if g == h and first(d) == month]
        both = sum(1 for d in patients if (h, d) in recorded)
        return any(g == h and first(d) == month for g, d in recorded) and 2 * both >= len(patients)

    active: dict[str, set[date]] = defaultdict(set)
    for h, month, _ in independent_coverage.records(world):
        active[h].add(month)
    for h, _, night in nights:
        active[h].add(first(night))

    result: dict[Cell, Measure] = {}
    for h, months in active.items():
        for month in every_month(min(months), max(months)):
            for scope in SCOPES:
                key = (h, month, scope, "total", "all")
                if covered(h, month):
                    cells[key]  # a covered month without a dose has a row of zeros
                else:
                    result[key] = Measure(covered=False)
    for key, doses in cells.items():
        if covered(key[0], key[1]):
            jh = sum(1 for n in nights if n[0] == key[0] and first(n[2]) == key[1])
            result[key] = Measure(True, jh, *figures(doses, person), unmapped[key[0], key[1]])
    return result | group(world, result, nights)


def figures(doses: Rows, person: Any) -> tuple[Decimal, int, int, int, int]:
    """DDD, DOT, LOT, doses and doses without a DDD of a cell's doses."""
    sums: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for a in doses:
        sums[a["drug_code"], aware_class(a["drug_code"], a["route"])] += in_ddd(a) or 0
    days = {(person(a), a["drug_code"], a["given_at_local"].date()) for a in doses}
    return (
        sum((rounded(v) for v in sums.values()), Decimal(0)),
        len(days),
        len({(p, d) for p, _, d in days}),
        len(doses),
        sum(1 for a in doses if in_ddd(a) is None),
    )


def group(
    world: dict[str, Rows], hospitals: dict[Cell, Measure], nights: set[tuple[str, Any, date]]
) -> dict[Cell, Measure]:
    """Sums of the covered study hospitals with a real calendar; every row has the patient-days of all of them, a person's night once."""
    members = {h["hospital_id"] for h in world["hospital"] if h["study_member"] and h["calendar"] != "shifted"}
    result: dict[Cell, Measure] = {}
    for key in {("group", *k[1:]) for k in hospitals if k[0] in members}:
        parts = [v for k, v in hospitals.items() if k[0] in members and k[1:] == key[1:] and v.covered]
        totals = [v for k, v in hospitals.items() if k[0] in members and k[1:] == (*key[1:3], "total", "all")]
        if not any(t.covered for t in totals):
            result[key] = Measure(covered=False)
            continue
        month = key[1]
        covered = {k[0] for k, v in hospitals.items() if k[0] in members and k[1] == month and v.covered}
        jh = len({(p, d) for h, p, d in nights if h in covered and first(d) == month})
        sums = [sum(p[i] or 0 for p in parts) for i in range(2, 7)]
        unmapped = sum(t.doses_unmapped or 0 for t in totals)
        result[key] = Measure(True, jh, *sums, unmapped)  # type: ignore[arg-type]
    return result


def first(day: date) -> date:
    return day.replace(day=1)


def every_month(start: date, stop: date) -> list[date]:
    months = [start]
    while months[-1] < stop:
        months.append(first(months[-1] + timedelta(days=32)))
    return months
