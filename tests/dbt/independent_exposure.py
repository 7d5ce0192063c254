"""Exposure and resistance computed again from domain.md's words in plain Python, without SQL, seeds or models."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from datetime import date, timedelta
from math import exp, log, sqrt
from typing import Any

World = dict[str, list[dict[str, Any]]]
Cells = tuple[int, int, int, int]  # exposed cases, exposed controls, unexposed cases, unexposed controls
Estimate = tuple[float, float, float] | None  # odds ratio and its 95 % limits

QUESTIONS = {
    "fluoroquinolone_ciprofloxacin": ("J01MA", "CIP"),
    "third_generation_cephalosporin_cefotaxime": ("J01DD", "CTX"),
}
WINDOWS = ((90, 0), (30, 0), (180, 0), (365, 0), (90, 3))
INFECTIONS = ("A40", "A41", "N10", "N390", "J13", "J14", "J15", "J18", "L03", "K65")
Z = 1.959963984540054


def people(world: World, question: str, window: int, excluded: int) -> dict[str, dict[str, Any]]:
    """Each person with an index isolate: ward, indication, exposed, category, observed days, standing."""
    atc, agent = QUESTIONS[question]
    members = {h["hospital_id"] for h in world["hospital"] if h["study_member"] and h["calendar"] != "shifted"}
    key = {(r["hospital_id"], r["patient_id"]): r["patient_key"] for r in world["patient_map"]}
    icu = {(u["hospital_id"], u["unit_code"]) for u in world["unit"] if u["unit_type"] == "icu"}
    specimens = {(s["hospital_id"], s["specimen_id"]): s for s in world["specimen"]}
    months = {(a["hospital_id"], a["given_at_local"].replace(day=1).date()) for a in world["administration"]}

    given: dict[str, set[date]] = defaultdict(set)
    for a in world["administration"]:
        if a["status"] == "given" and (a["drug_code"] or "").startswith(atc) and a["hospital_id"] in members:
            given[key[a["hospital_id"], a["patient_id"]]].add(a["given_at_local"].date())
    admissions: dict[str, set[date]] = defaultdict(set)
    stays = {(s["hospital_id"], s["stay_id"]): s for s in world["stay"]}
    for d in world["diagnosis"]:
        stay = stays.get((d["hospital_id"], d["stay_id"]))
        if stay and d["hospital_id"] in members and (d["diagnosis_code"] or "").startswith(INFECTIONS):
            admissions[key[stay["hospital_id"], stay["patient_id"]]].add(stay["admitted_at_local"].date())

    tested: dict[tuple[Any, ...], set[str | None]] = defaultdict(set)
    for r in world["susceptibility"]:
        if r["drug_code"] == agent:
            tested[r["hospital_id"], r["specimen_id"], r["isolate_number"]].add(r["category"])

    first: dict[str, tuple[Any, ...]] = {}
    for i in world["isolate"]:
        s = specimens[i["hospital_id"], i["specimen_id"]]
        wanted = i["organism_code"] == "B_ESCHR_COLI" and i["status"] in ("final", "corrected")
        if not wanted or s["purpose"] != "diagnostic" or s["hospital_id"] not in members:
            continue
        who = key[s["hospital_id"], s["patient_id"]]
        place = (s["collected_at"], _md5(s["hospital_id"], s["specimen_id"]), i["isolate_number"])
        if who not in first or place < first[who][0]:
            first[who] = (place, s, i)

    found = {}
    for who, (_, s, i) in first.items():
        index = s["collected_at_local"].date()
        days = [index - timedelta(days=n) for n in range(1 + excluded, window + 1)]
        results = tested[i["hospital_id"], i["specimen_id"], i["isolate_number"]]
        category = next((c for c in ("R", "I", "S") if c in results), None)
        observed = sum((s["hospital_id"], d.replace(day=1)) in months for d in days)
        found[who] = {
            "ward": "icu" if (s["hospital_id"], s["unit_code"]) in icu else "other",
            "indication": "infection" if admissions[who] & set(days) else "none",
            "exposed": bool(given[who] & set(days)),
            "category": category,
            "days": observed,
            "standing": "not_observable" if not observed else "counted" if category else "not_tested",
        }
    return found


def _md5(*parts: str) -> str:
    return hashlib.md5("|".join(parts).encode(), usedforsecurity=False).hexdigest()


def tables(found: dict[str, dict[str, Any]]) -> dict[tuple[str, str], Cells]:
    """Ward x indication -> cells."""
    result = {}
    for ward in ("icu", "other"):
        for indication in ("infection", "none"):
            inside = [
                p
                for p in found.values()
                if (p["ward"], p["indication"], p["standing"]) == (ward, indication, "counted")
            ]
            result[ward, indication] = tuple(
                sum(p["exposed"] == exposed and (p["category"] == "R") == case for p in inside)
                for exposed, case in ((True, True), (True, False), (False, True), (False, False))
            )
    return result  # type: ignore[return-value]


def woolf(cells: Cells) -> Estimate:
    """Odds ratio and logit interval; None where a cell is empty."""
    if min(cells) == 0:
        return None
    a, b, c, d = cells
    return _limits(log(a * d / (b * c)), sqrt(1 / a + 1 / b + 1 / c + 1 / d))


def mantel_haenszel(strata: list[Cells]) -> Estimate:
    """Mantel-Haenszel odds ratio and the interval of Robins, Breslow and Greenland."""
    terms = []
    for a, b, c, d in strata:
        n = a + b + c + d
        if n:
            terms.append((a * d / n, b * c / n, (a + d) / n, (b + c) / n))
    r, s = sum(t[0] for t in terms), sum(t[1] for t in terms)
    if not r or not s:
        return None
    variance = (
        sum(p * x for x, _, p, _ in terms) / (2 * r**2)
        + sum(p * y + q * x for x, y, p, q in terms) / (2 * r * s)
        + sum(q * y for _, y, _, q in terms) / (2 * s**2)
    )
    return _limits(log(r / s), sqrt(variance))


def _limits(centre: float, error: float) -> tuple[float, float, float]:
    return exp(centre), exp(centre - Z * error), exp(centre + Z * error)
