"""First isolates and antibiogram computed again from domain.md's words, person by person, without SQL, the seeds or the models."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from datetime import date
from typing import Any

Tables = dict[str, list[dict[str, Any]]]
Isolate = tuple[str, str, int]  # hospital, specimen, isolate number
METHODS = ("all", "patient", "m39", "episode_7", "episode_14", "episode_30", "episode_365")
SPECIES = {"B_KLBSL_PNMN_OZAN": "B_KLBSL_PNMN"}
INTRINSIC = {  # of the drugs and organisms that microbiology_world draws
    ("B_KLBSL_PNMN", "AMX"),
    ("B_KLBSL_PNMN_OZAN", "AMX"),
    ("B_PROTS_MRBL", "COL"),
    ("B_PROTS_MRBL", "NIT"),
    ("B_ENTRC_FCLS", "CTX"),
    ("B_ENTRC_FCLS", "COL"),
}
SEVERITY = ("undetermined", "susceptible", "increased_exposure", "intermediate", "resistant")


def key(*parts: object) -> str:
    return hashlib.md5("|".join(map(str, parts)).encode()).hexdigest()  # noqa: S324 - the warehouse's surrogate key


def episodes(days: list[date], length: int) -> list[int]:
    """Number of the episode of each day, in order: a new one when days since the start of the current one >= length."""
    numbers: list[int] = []
    start = None
    for day in days:
        if start is None or (day - start).days >= length:
            start = day
            numbers.append(numbers[-1] + 1 if numbers else 1)
        else:
            numbers.append(numbers[-1])
    return numbers


def first_isolates(world: Tables) -> dict[tuple[Isolate, str, str], tuple[str | None, bool]]:
    """(isolate, method, scope) -> why excluded, first or not."""
    specimens = {(s["hospital_id"], s["specimen_id"]): s for s in world["specimen"]}
    persons = {(r["hospital_id"], r["patient_id"]): r["patient_key"] for r in world["patient_map"]}
    members = {h["hospital_id"] for h in world["hospital"] if h["study_member"] and h["calendar"] == "real"}
    result: dict[tuple[Isolate, str, str], tuple[str | None, bool]] = {}
    series: dict[tuple[Any, ...], list[tuple[Any, Isolate]]] = defaultdict(list)
    for row in world["isolate"]:
        isolate = (row["hospital_id"], row["specimen_id"], row["isolate_number"])
        specimen = specimens.get(isolate[:2])
        organism = row["organism_code"]
        if specimen is None:
            why = "no_specimen"
        elif organism is not None and organism.startswith("X"):
            why = "non_organism"
        elif organism is None:
            why = "unmapped_organism"
        elif specimen["purpose"] != "diagnostic":
            why = "not_diagnostic"
        elif row["status"] not in ("final", "corrected"):
            why = "not_final"
        else:
            why = None
        for scope in ("hospital", "group"):
            if scope == "group" and isolate[0] not in members:
                continue
            result[isolate, "all", scope] = (why, True)
            if why is None and specimen is not None:
                local = (isolate[0], specimen["patient_id"])
                person = persons.get(local, local)
                place = (specimen["collected_at_local"].date(), specimen["collected_at"], key(*isolate[:2]), isolate[2])
                within = isolate[0] if scope == "hospital" else "group"
                series[scope, within, person, SPECIES.get(organism, organism)].append((place, isolate))
    for (scope, *_), members_of in series.items():
        ordered = sorted(members_of)
        days = [place[0] for place, _ in ordered]
        numbers = {
            "patient": [1] * len(days),
            "m39": [d.year for d in days],
            **{f"episode_{n}": episodes(days, n) for n in (7, 14, 30, 365)},
        }
        for method, of in numbers.items():
            for n, (_, isolate) in enumerate(ordered):
                result[isolate, method, scope] = (None, n == 0 or of[n] != of[n - 1])
    return result


def interpretation(row: dict[str, Any]) -> str:
    if row["category"] != "I":
        return {"S": "susceptible", "R": "resistant"}.get(row["category"], "undetermined")
    since_2019 = (row["guideline"], row["guideline_version"]) in (
        ("eucast", "2024"),
        ("eucast", "v14.0"),
        ("ca_sfm", "2019"),
    )
    if since_2019 or (row["category_source"] == "SFP" and row["guideline"] != "clsi"):
        return "increased_exposure"
    return "intermediate"


def antibiogram(world: Tables, methods: tuple[str, ...]) -> dict[tuple[Any, ...], list[int]]:
    """(hospital, method, year, species, agent, nature) -> first isolates, then isolates by SEVERITY."""
    specimens = {(s["hospital_id"], s["specimen_id"]): s for s in world["specimen"]}
    organisms = {
        (i["hospital_id"], i["specimen_id"], i["isolate_number"]): i["organism_code"] for i in world["isolate"]
    }
    worst: dict[Isolate, dict[str, int]] = defaultdict(dict)
    for row in world["susceptibility"]:
        isolate = (row["hospital_id"], row["specimen_id"], row["isolate_number"])
        agent = row["drug_code"]
        if agent is not None and (organisms[isolate], agent) not in INTRINSIC:
            rank = SEVERITY.index(interpretation(row))
            worst[isolate][agent] = max(rank, worst[isolate].get(agent, 0))
    isolates: dict[tuple[Any, ...], int] = defaultdict(int)
    counts: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(SEVERITY))
    for (isolate, method, scope), (why, first) in first_isolates(world).items():
        if why is not None or not first or method not in methods:
            continue
        specimen = specimens[isolate[:2]]
        organism = organisms[isolate]
        of = isolate[0] if scope == "hospital" else "group"
        for nature in ("all", specimen["nature"] or "unmapped"):
            stratum = (of, method, specimen["collected_at_local"].year, SPECIES.get(organism, organism), nature)
            isolates[stratum] += 1
            for agent, rank in worst[isolate].items():
                counts[(*stratum[:4], agent, nature)][rank] += 1
    return {cell: [isolates[(*cell[:4], cell[5])], *by_rank] for cell, by_rank in counts.items()}
