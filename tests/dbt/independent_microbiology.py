"""First isolates and antibiogram computed again from docs/domain's words, person by person, without SQL, the seeds or the models."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from datetime import date
from typing import Any

Tables = dict[str, list[dict[str, Any]]]
Isolate = tuple[str, str, int]  # hospital, specimen, isolate number
METHODS = (
    "all", "patient", "m39", "ears_net", "glass", "episode_7", "episode_14", "episode_30", "episode_365",
    "phenotype_30", "phenotype_365",
)  # fmt: skip
SPECIES = {  # of the organisms that microbiology_world draws
    "B_KLBSL_PNMN_OZAN": "B_KLBSL_PNMN",
    "B_ENTRBC_CLOC-C": "B_ENTRBC_CLOC",
    "B_ENTRBC_HRMC": "B_ENTRBC_CLOC",
    "B_ENTRBC_XNGF": "B_ENTRBC_CLOC",
}
INTRINSIC = {  # of the drugs and organisms that microbiology_world draws
    ("B_KLBSL_PNMN", "AMX"),
    ("B_KLBSL_PNMN_OZAN", "AMX"),
    ("B_PROTS_MRBL", "COL"),
    ("B_PSDMN_AERG", "CTX"),
    ("B_PROTS_MRBL", "NIT"),
    ("B_ENTRC_FCLS", "CTX"),
    ("B_ENTRC_FCLS", "COL"),
    ("B_ENTRBC_CLOC-C", "AMX"),
    ("B_ENTRBC_HRMC", "AMX"),
    ("B_ENTRBC_XNGF", "AMX"),
}
SEVERITY = (
    "undetermined", "susceptible", "increased_exposure", "i_guideline_unknown", "intermediate", "resistant",
)  # fmt: skip
_INDICATIONS = ("general", "meningitis", "uncomplicated_urinary", "oral", "endocarditis", "unknown")


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


def interpretation(row: dict[str, Any]) -> str:
    if row["category"] != "I":
        return {"S": "susceptible", "R": "resistant"}.get(row["category"], "undetermined")
    said = (row["guideline"], row["guideline_version"])
    if said in (("eucast", "2024"), ("eucast", "v14.0"), ("ca_sfm", "2019"), (None, "EUCAST 14.0")):
        return "increased_exposure"
    if row["category_source"] == "SFP" and row["guideline"] != "clsi":
        return "increased_exposure"
    if row["guideline"] == "clsi" or said == ("eucast", "2018"):
        return "intermediate"
    return "i_guideline_unknown"


def results(world: Tables) -> dict[Isolate, dict[tuple[str, str], int]]:
    """Per isolate (drug, indication) -> place in SEVERITY of what counts."""
    natures = {(s["hospital_id"], s["specimen_id"]): s["nature"] for s in world["specimen"]}
    found: dict[Isolate, dict[tuple[str, str], int]] = defaultdict(dict)
    for row in world["susceptibility"]:
        isolate = (row["hospital_id"], row["specimen_id"], row["isolate_number"])
        if row["drug_code"] is None:
            continue
        written = row.get("breakpoint_indication_source")
        indication = row.get("breakpoint_indication") or ("unknown" if written else "general")
        rank = SEVERITY.index(interpretation(row))
        place = (row["drug_code"], indication)
        found[isolate][place] = max(rank, found[isolate].get(place, 0))
    for isolate, own in found.items():
        if natures.get(isolate[:2]) == "csf":
            own.update({(a, "general"): rank for (a, i), rank in list(own.items()) if i == "meningitis"})
    return found


class Order:
    """What comes first of one person and species: time, most results, isolate number, the results, then the other content."""

    def __init__(self, world: Tables) -> None:
        self.results = results(world)
        drugs = sorted({a for own in self.results.values() for a, _ in own})
        self.written = {
            isolate: sorted(drugs.index(a) * 100 + _INDICATIONS.index(i) * 10 + rank for (a, i), rank in own.items())
            for isolate, own in self.results.items()
        }
        self.units = {(u["hospital_id"], u["unit_code"]): u["unit_type"] for u in world["unit"]}

    def interpreted(self, isolate: Isolate) -> int:
        return sum(rank > 0 for rank in self.results.get(isolate, {}).values())

    def place(self, isolate: Isolate, organism: str, specimen: dict[str, Any]) -> tuple[Any, ...]:
        unit = self.units.get((isolate[0], specimen.get("unit_code")))
        written = self.written.get(isolate)
        return (
            specimen["collected_at_local"].date(), specimen["collected_at"], -self.interpreted(isolate), isolate[2],
            (written is None, written or []), isolate[0], organism,
            (specimen["nature"] is None, specimen["nature"] or ""), (unit is None, unit or ""), key(*isolate),
        )  # fmt: skip

    def differs(self, one: Isolate, other: Isolate) -> bool:
        """R against S in a drug tested in both."""
        mine, theirs = self.results.get(one, {}), self.results.get(other, {})
        ends = {SEVERITY.index("susceptible"), SEVERITY.index("resistant")}
        return any({rank, theirs.get(place)} == ends for place, rank in mine.items() if place[1] == "general")


def strains(ordered: list[Isolate], numbers: list[int], order: Order) -> list[bool]:
    """Whether each isolate is a new strain of its episode: it differs from every one kept."""
    kept: dict[int, list[Isolate]] = defaultdict(list)
    found = []
    for isolate, number in zip(ordered, numbers, strict=True):
        new = all(order.differs(isolate, other) for other in kept[number])
        found.append(new)
        if new:
            kept[number].append(isolate)
    return found


def firsts(
    candidates: list[tuple[tuple[Any, ...], Isolate, dict[str, Any]]], order: Order
) -> dict[tuple[Isolate, str], bool]:
    """(isolate, method) -> first or not, of one series of one person and species."""
    found: dict[tuple[Isolate, str], bool] = {}
    ordered = sorted(candidates, key=lambda c: c[0])
    isolates = [i for _, i, _ in ordered]
    days = [place[0] for place, _, _ in ordered]
    groups: dict[str, list[Any]] = {
        "patient": [1] * len(days),
        "m39": [d.year for d in days],
        "glass": [(d.year, s["nature"]) for d, (_, _, s) in zip(days, ordered, strict=True)],
        **{f"episode_{n}": episodes(days, n) for n in (7, 14, 30, 365)},
    }
    groups["ears_net"] = [
        d.year if s["nature"] in ("blood", "csf") else None for d, (_, _, s) in zip(days, ordered, strict=True)
    ]
    for method, of in groups.items():
        seen = {None} if method == "ears_net" else set()
        for isolate, group in zip(isolates, of, strict=True):
            found[isolate, method] = group not in seen
            seen.add(group)
    for n in (30, 365):
        for isolate, new in zip(isolates, strains(isolates, episodes(days, n), order), strict=True):
            found[isolate, f"phenotype_{n}"] = new
    return found


def first_isolates(world: Tables) -> dict[tuple[Isolate, str, str, str, str], tuple[str | None, bool]]:
    """(isolate, method, scope, among, nature or all) -> why excluded, first or not."""
    specimens = {(s["hospital_id"], s["specimen_id"]): s for s in world["specimen"]}
    persons = {(r["hospital_id"], r["patient_id"]): r["patient_key"] for r in world["patient_map"]}
    members = {h["hospital_id"] for h in world["hospital"] if h["study_member"] and h["calendar"] == "real"}
    order = Order(world)
    result: dict[tuple[Isolate, str, str, str, str], tuple[str | None, bool]] = {}
    series: dict[tuple[Any, ...], list[tuple[Any, Isolate, dict[str, Any]]]] = defaultdict(list)
    draws: dict[tuple[str, str, str], list[tuple[Any, str]]] = defaultdict(list)
    kept: list[tuple[Isolate, str, dict[str, Any]]] = []
    excluded: list[tuple[Isolate, str]] = []
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
        elif specimen["purpose"] == "screening":
            why = "screening"
        elif specimen["purpose"] != "diagnostic":
            why = "unknown_purpose"
        elif row["status"] not in ("final", "corrected"):
            why = "not_final"
        else:
            species = SPECIES.get(organism, organism)
            kept.append((isolate, organism, specimen))
            place = order.place(isolate, organism, specimen)
            draws[isolate[0], specimen["draw_id"], species].append((place, isolate[1]))
            continue
        excluded.append((isolate, why))
    drawn_first = {draw: min(bottles)[1] for draw, bottles in draws.items()}
    for scope in ("hospital", "group"):
        for among in ("all_isolates", "tested"):
            for isolate, why in excluded:
                if (scope == "hospital" or isolate[0] in members) and (
                    among == "all_isolates" or order.interpreted(isolate)
                ):
                    result[isolate, "all", scope, among, "all"] = (why, True)
            for isolate, organism, specimen in kept:
                if (scope == "group" and isolate[0] not in members) or (
                    among == "tested" and not order.interpreted(isolate)
                ):
                    continue
                species = SPECIES.get(organism, organism)
                repeat = drawn_first[isolate[0], specimen["draw_id"], species] != isolate[1]
                local = (isolate[0], specimen["patient_id"])
                person = persons.get(local, local)
                within = isolate[0] if scope == "hospital" else "group"
                for nature in ("all", specimen["nature"] or "unmapped"):
                    result[isolate, "all", scope, among, nature] = ("same_draw" if repeat else None, not repeat)
                    series[scope, among, within, nature, person, species].append(
                        (order.place(isolate, organism, specimen), isolate, specimen)
                    )
    for (scope, among, _, nature, *_), candidates in series.items():
        for (isolate, method), first in firsts(candidates, order).items():
            result[isolate, method, scope, among, nature] = (None, first)
    return result


def antibiogram(world: Tables, methods: tuple[str, ...]) -> dict[tuple[Any, ...], list[int]]:
    """(hospital, method, among, year, species, agent, indication, nature) -> first isolates, then isolates by SEVERITY."""
    specimens = {(s["hospital_id"], s["specimen_id"]): s for s in world["specimen"]}
    organisms = {
        (i["hospital_id"], i["specimen_id"], i["isolate_number"]): i["organism_code"] for i in world["isolate"]
    }
    found = results(world)
    isolates: dict[tuple[Any, ...], int] = defaultdict(int)
    counts: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(SEVERITY))
    for (isolate, method, scope, among, nature), (why, first) in first_isolates(world).items():
        if why is not None or not first or method not in methods:
            continue
        specimen = specimens[isolate[:2]]
        organism = organisms[isolate]
        of = isolate[0] if scope == "hospital" else "group"
        year, species = specimen["collected_at_local"].year, SPECIES.get(organism, organism)
        isolates[of, method, among, year, species, nature] += 1
        for (agent, indication), rank in found.get(isolate, {}).items():
            if (organism, agent) not in INTRINSIC:
                counts[of, method, among, year, species, agent, indication, nature][rank] += 1
    return {cell: [isolates[(*cell[:5], cell[7])], *by_rank] for cell, by_rank in counts.items()}
