"""The mart computed again from domain.md's words in plain Python, without SQL, the seed or the models."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from typing import Any

Rows = list[dict[str, Any]]
Measure = tuple[bool, int | None, int | None, int | None]  # covered, patient-days, DOT, LOT
SPARES_BESIDE_J01 = ("J04AB02", "P01AB", "A07AA12")


def in_scope(scope: str, atc: str) -> bool:
    if scope == "esac":
        return atc.startswith("J01")
    if scope == "spares":
        return atc.startswith(("J01", *SPARES_BESIDE_J01))
    return True


def mart(world: dict[str, Rows], open_nights: int = 90) -> dict[tuple[str, date, str], Measure]:
    """(hospital, month, scope) -> measures, for hospitals and for the group."""
    persons = {(r["hospital_id"], r["patient_id"]): r["patient_key"] for r in world["patient_map"]}

    def person(row: dict[str, Any]) -> Any:
        key = (row["hospital_id"], row["patient_id"])
        return persons.get(key, key)

    seen: dict[str, list[Any]] = defaultdict(list)
    for s in world["stay"]:
        seen[s["hospital_id"]] += [s["admitted_at_local"], s["discharged_at_local"]]
    for a in world["administration"]:
        seen[a["hospital_id"]].append(a["given_at_local"])
    last = {h: max(m for m in moments if m is not None) for h, moments in seen.items()}

    def end(s: dict[str, Any]) -> Any:
        if s["discharged_at_local"] is not None:
            return s["discharged_at_local"]
        return min(last[s["hospital_id"]], s["admitted_at_local"] + timedelta(days=open_nights))

    nights = set()
    for s in world["stay"]:
        day = s["admitted_at_local"].date()
        while s["stay_type"] == "full" and day < end(s).date():
            nights.add((s["hospital_id"], person(s), day))
            day += timedelta(days=1)

    treated = set()
    for a in world["administration"]:
        if a["status"] != "given" or a["drug_code"] is None:
            continue
        own = [s for s in world["stay"] if s["hospital_id"] == a["hospital_id"] and person(s) == person(a)]
        named = [s for s in own if s["stay_id"] == a["stay_id"]]
        if named:
            inside = named[0]["stay_type"] == "full"
        else:
            inside = any(
                s["stay_type"] == "full" and s["admitted_at_local"] <= a["given_at_local"] <= end(s) for s in own
            )
        if inside:
            treated.add((a["hospital_id"], person(a), a["drug_code"], a["given_at_local"].date()))

    recorded = {(a["hospital_id"], first(a["given_at_local"].date())) for a in world["administration"]}
    active: dict[str, set[date]] = defaultdict(set)
    for h, m in recorded:
        active[h].add(m)
    for s in world["stay"]:
        active[s["hospital_id"]].add(first(s["admitted_at_local"].date()))
    for h, _, night in nights:
        active[h].add(first(night))

    result: dict[tuple[str, date, str], Measure] = {}
    members = {h["hospital_id"] for h in world["hospital"] if h["study_member"]}
    for scope in ("all", "esac", "spares"):
        for h, months in active.items():
            for month in every_month(min(months), max(months)):
                if (h, month) not in recorded:
                    result[h, month, scope] = (False, None, None, None)
                    continue
                days = [t for t in treated if t[0] == h and first(t[3]) == month and in_scope(scope, t[2])]
                jh = sum(1 for n in nights if n[0] == h and first(n[2]) == month)
                result[h, month, scope] = (True, jh, len(days), len({(p, d) for _, p, _, d in days}))
    for month, scope in {(m, s) for h, m, s in result if h in members}:
        parts = [v for (h, m, s), v in result.items() if h in members and (m, s) == (month, scope)]
        covered = [v for v in parts if v[0]]
        sums = [sum(v[i] or 0 for v in covered) for i in (1, 2, 3)]
        result["group", month, scope] = (True, *sums) if covered else (False, None, None, None)
    return result


def first(day: date) -> date:
    return day.replace(day=1)


def every_month(start: date, stop: date) -> list[date]:
    months = [start]
    while months[-1] < stop:
        months.append(first(months[-1] + timedelta(days=32)))
    return months
