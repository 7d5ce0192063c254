"""Exposure and resistance computed again from the words of docs/domain/exposure.md in plain Python, without SQL, seeds or models."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, timedelta
from math import exp, log, sqrt
from typing import Any

World = dict[str, list[dict[str, Any]]]
Spell = tuple[str, datetime, datetime]  # whose or which, begin, end
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
    """Each person with an index isolate: ward, indication, exposed, category, observed and covered days, standing, standing_unrestricted."""
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
    stays = {(s["hospital_id"], s["stay_id"]): s for s in world["stay"] if s["hospital_id"] in members}
    spell = _spells(stays, key)
    observed: dict[str, set[date]] = defaultdict(set)
    for (h, _), stay in stays.items():
        day, last = stay["admitted_at_local"].date(), stay["discharged_at_local"].date()
        while stay["stay_type"] == "full" and day <= last:
            if (h, day.replace(day=1)) in months:
                observed[key[h, stay["patient_id"]]].add(day)
            day += timedelta(days=1)
    admissions: dict[str, set[tuple[date, Spell]]] = defaultdict(set)
    for d in world["diagnosis"]:
        coded = (d["hospital_id"], d["stay_id"])
        if coded in stays and (d["diagnosis_code"] or "").startswith(INFECTIONS):
            who = key[coded[0], stays[coded]["patient_id"]]
            admissions[who].add((stays[coded]["admitted_at_local"].date(), spell[coded]))

    tested: dict[tuple[Any, ...], set[str | None]] = defaultdict(set)
    for r in world["susceptibility"]:
        if r["drug_code"] == agent:
            tested[r["hospital_id"], r["specimen_id"], r["isolate_number"]].add(r["category"])

    results: dict[tuple[Any, ...], list[tuple[str, str]]] = defaultdict(list)
    for r in world["susceptibility"]:
        place = (r["hospital_id"], r["specimen_id"], r["isolate_number"])
        results[place].append((r["drug_code"], r["category"] or ""))

    first: dict[str, tuple[Any, ...]] = {}
    for i in world["isolate"]:
        s = specimens[i["hospital_id"], i["specimen_id"]]
        wanted = i["organism_code"] == "B_ESCHR_COLI" and i["status"] in ("final", "corrected")
        if not wanted or s["purpose"] != "diagnostic" or s["hospital_id"] not in members:
            continue
        who = key[s["hospital_id"], s["patient_id"]]
        ward = "icu" if (s["hospital_id"], s["unit_code"]) in icu else "other"
        own = sorted(results[i["hospital_id"], i["specimen_id"], i["isolate_number"]])
        named = spell.get((s["hospital_id"], s["stay_id"]))
        order = (
            s["collected_at"],
            -sum(category in ("S", "I", "R") for _, category in own),
            i["isolate_number"],
            (not own, ",".join(f"{agent} {category}" for agent, category in own)),
            s["hospital_id"],
            ward,
            (named is None, named),
        )
        if who not in first or order < first[who][0]:
            first[who] = (order, s, i, ward, named)

    found = {}
    for who, (_, s, i, ward, named) in first.items():
        index = s["collected_at_local"].date()
        days = [index - timedelta(days=n) for n in range(1 + excluded, window + 1)]
        categories = tested[i["hospital_id"], i["specimen_id"], i["isolate_number"]]
        category = next((c for c in ("R", "I", "S") if c in categories), None)
        covered = sum((s["hospital_id"], d.replace(day=1)) in months for d in days)
        here = len(observed[who] & set(days))
        infected = any(
            day in days and of != named and not of[1] <= s["collected_at"] <= of[2] for day, of in admissions[who]
        )
        known = "counted" if category else "not_tested"
        found[who] = {
            "ward": ward,
            "indication": "infection" if infected else "none",
            "exposed": bool(given[who] & set(days)),
            "category": category,
            "days": here,
            "days_observed": "none" if not here else "1-3" if here < 4 else "4-14" if here < 15 else "> 14",
            "covered": covered,
            "standing": known if here else "not_observable",
            "standing_unrestricted": known if here or covered else "not_observable",
        }
    return found


def _spells(stays: dict[Any, Any], key: dict[Any, str]) -> dict[Any, Spell]:
    """Stay -> its spell (person, begin, end): full stays of a person less than a day apart are one, any other stay is its own."""
    found: dict[Any, Spell] = {}
    full: dict[str, list[Any]] = defaultdict(list)
    for place, stay in stays.items():
        who = key[place[0], stay["patient_id"]]
        if stay["stay_type"] == "full":
            full[who].append((stay["admitted_at"], stay["discharged_at"], place))
        else:
            found[place] = (f"{place}", stay["admitted_at"], stay["discharged_at"])
    for who, records in full.items():
        open_: list[Any] = []
        for record in [*sorted(records), None]:
            if open_:
                end = max(r[1] for r in open_)
                if record is None or record[0] > end + timedelta(days=1):
                    found |= {r[2]: (who, open_[0][0], end) for r in open_}
                    open_ = []
            if record is not None:
                open_.append(record)
    return found


def tables(found: dict[str, dict[str, Any]]) -> dict[tuple[str, str, str], Cells]:
    """Ward x indication x days observed -> cells; days none are people in the unrestricted estimates only."""
    result = {}
    for ward in ("icu", "other"):
        for indication in ("infection", "none"):
            for days in ("none", "1-3", "4-14", "> 14"):
                wanted = (ward, indication, days, "counted")
                inside = [
                    p
                    for p in found.values()
                    if (p["ward"], p["indication"], p["days_observed"], p["standing_unrestricted"]) == wanted
                ]
                result[ward, indication, days] = tuple(
                    sum(p["exposed"] == exposed and (p["category"] == "R") == case for p in inside)
                    for exposed, case in ((True, True), (True, False), (False, True), (False, False))
                )
    return result


def estimates(strata: dict[tuple[str, str, str], Cells]) -> dict[str, tuple[Cells, Estimate]]:
    """The mart's four estimates of one question and window: the cells in all, and what is estimated from them."""
    seen = [cells for (_, _, days), cells in strata.items() if days != "none"]
    pooled: dict[tuple[str, str], list[Cells]] = defaultdict(list)
    for (ward, indication, _), cells in strata.items():
        pooled[ward, indication].append(cells)
    everybody = [_sum(parts) for parts in pooled.values()]
    return {
        "crude": (_sum(seen), woolf(_sum(seen))),
        "mantel_haenszel": (_sum(seen), mantel_haenszel(seen)),
        "unrestricted_crude": (_sum(everybody), woolf(_sum(everybody))),
        "unrestricted_mantel_haenszel": (_sum(everybody), mantel_haenszel(everybody)),
    }


def _sum(parts: list[Cells]) -> Cells:
    return tuple(sum(cells[n] for cells in parts) for n in range(4))  # type: ignore[return-value]


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
