"""A random world of doses, infections and E. coli isolates for the exposure marts, beside ``staging_world``'s stays and doses."""

from __future__ import annotations

import random
from calendar import monthrange
from datetime import date, datetime, timedelta
from typing import Any

from staging_world import dose, hospital, link, moment, other_drugs, patient, specimen, stay

World = dict[str, list[dict[str, Any]]]
GROUP, OUTSIDE = ("h11", "h12", "h13"), "h19"  # h13 delivers no administrations before 2023
CODES = ("A419", "N390", "J180", "L031", "I10", "K359", "R509", "U828+0", None)
DRUGS = ("J01MA02", "J01MA12", "J01DD04", "J01DD01", "J01CR02", "A07AA09", None)


def draw(seed: int, people: int = 160) -> World:
    """Every rule is met many times: shared and merged identities, screening, preliminary and untested isolates, unknown units, stays and
    drugs, doses without a stay, hospitals outside the study, months without administrations, days at both ends of every window."""
    chance = random.Random(seed)  # noqa: S311 - test data
    names = (
        "hospital",
        "patient",
        "patient_map",
        "unit",
        "stay",
        "diagnosis",
        "administration",
        "specimen",
        "isolate",
        "susceptibility",
    )
    world: World = {name: [] for name in names}
    start = datetime(2022, 1, 1)
    for h in (*GROUP, OUTSIDE):
        world["hospital"].append(hospital(h, member=h != OUTSIDE))
        for code, kind in (("REA", "icu"), ("MED", "medicine"), ("XXX", None)):
            world["unit"].append(
                {
                    "hospital_id": h,
                    "unit_code": code,
                    "unit_type": kind,
                    "valid_from": date(2020, 1, 1),
                    "valid_to": None,
                }
            )
        for n in range(people):
            shared = n % 4 == 0  # the same person in every hospital; p1 and p2 are two identities of one person
            world["patient"].append(patient(h, f"p{n}"))
            who = "person" if shared else f"{h}-person"
            world["patient_map"].append(link(h, f"p{n}", f"{who}-{1 if n == 2 else n}"))
            _one_person(chance, world, h, f"p{n}", start)
    return recorded_daily(world)


def _one_person(chance: random.Random, world: World, h: str, who: str, start: datetime) -> None:
    index = start + timedelta(minutes=chance.randrange(700 * 1440))
    for n in range(chance.randrange(4)):
        begin = index + timedelta(
            days=chance.choice((-400, -366, -200, -91, -90, -60, -30, -4, -3, -2, -1, 0, 5)),
            minutes=chance.randrange(600),
        )
        sid = f"{who}-{n}"
        world["stay"].append(
            stay(h, sid, who, f"{begin}", f"{begin + timedelta(days=3)}", chance.choice(("full", "full", "day")))
        )
        for rank in range(chance.randrange(4)):
            code = chance.choice(CODES)
            world["diagnosis"].append(
                {"hospital_id": h, "stay_id": chance.choice((sid, sid, sid, "unknown")), "rank": len(world["diagnosis"]),
                 "diagnosis_code": code, "diagnosis_code_source": code or "?", "diagnosis_type": "main" if rank == 0 else "associated"}
            )  # fmt: skip
    for n in range(chance.randrange(3)):
        day = index + timedelta(days=chance.choice((-366, -365, -180, -91, -90, -31, -30, -10, -4, -3, -1, 0, 1)))
        if h == "h13" and day.year < 2023:
            continue
        status = chance.choice(("given", "given", "given", "given", "not_given", "cancelled", None))
        where = chance.choice((f"{who}-0", None, "unknown"))
        world["administration"].append(dose(h, f"{who}-{n}", who, where, chance.choice(DRUGS), f"{day}", status))
    for n in range(chance.choice((0, 1, 1, 1, 2))):
        number = f"{who}-{n}"
        taken = index + timedelta(days=n * chance.choice((0, 1, 40)))
        world["specimen"].append(
            {"hospital_id": h, "specimen_id": number, "draw_id": number, "patient_id": who, "nature": "urine",
             "purpose": chance.choice(("diagnostic",) * 5 + ("screening",)), "unit_code": chance.choice(("REA", "MED", "XXX", "NO", None)),
             "stay_id": chance.choice((None, None, f"{who}-0", "unknown")), **moment("collected_at", f"{taken}")}
        )  # fmt: skip
        for isolate_number in range(1, chance.choice((2, 2, 3))):
            organism = chance.choice(("B_ESCHR_COLI",) * 4 + ("B_KLBSL_PNMN", None))
            world["isolate"].append(
                {"hospital_id": h, "specimen_id": number, "isolate_number": isolate_number, "organism_code": organism,
                 "organism_code_source": "x", "status": chance.choice(("final",) * 5 + ("corrected", "preliminary", "cancelled"))}
            )  # fmt: skip
            for agent in ("CIP", "CTX", "GEN"):
                if chance.random() < 0.1:
                    continue
                category = chance.choice(("S", "S", "R", "R", "I", "ZIT", None))
                world["susceptibility"].append(
                    {"hospital_id": h, "specimen_id": number, "isolate_number": isolate_number, "drug_code": agent,
                     "drug_code_source": agent, "category": category, "category_source": category}
                )  # fmt: skip


# Of 1,000 people: who was in hospital before (by days observed) is resistant to 40 %, exposed or not; who was not, to 93 in 670.
NULL_PRIOR = ((2, "1-3"), (7, "4-14"), (20, "> 14"))  # days in hospital, stratum
NULL_CELLS = (12, 18, 32, 48)  # per stratum: exposed cases and controls, unexposed cases and controls: odds ratio 1.00
NULL_NEVER = (93, 577)  # cases and controls who were not in hospital
NULL_INDEX = datetime(2024, 6, 10, 10)


def true_null() -> World:
    """1,000 people with a true odds ratio of 1.00 within hospitalised and not; hospitalisation alone goes with exposure and resistance.

    Everybody's index isolate is taken by h11 as an outpatient's, a month after the end of the stay, which was in h11 for one and in h12 for
    the next; both hospitals give doses every day.
    """
    world: World = {
        "hospital": [hospital("h11"), hospital("h12")],
        **{name: [] for name in ("patient", "patient_map", "stay", "administration", "specimen", "isolate", "susceptibility")},
    }  # fmt: skip
    for h in ("h11", "h12"):
        world["patient"].append(patient(h, "long"))
        world["patient_map"].append(link(h, "long", f"{h}-long"))
        world["stay"].append(stay(h, "long", "long", "2023-12-01 08:00", "2024-06-30 08:00"))
        for n in range(210):
            world["administration"].append(
                dose(h, f"long{n}", "long", "long", "J01CR02", f"{datetime(2023, 12, 2, 8) + timedelta(days=n)}")
            )
    people: list[tuple[int, bool, bool]] = []  # days in hospital, exposed, case
    for days, _ in NULL_PRIOR:
        for count, (exposed, case) in zip(
            NULL_CELLS, ((True, True), (True, False), (False, True), (False, False)), strict=True
        ):
            people += [(days, exposed, case)] * count
    people += [(0, False, True)] * NULL_NEVER[0] + [(0, False, False)] * NULL_NEVER[1]
    for n, (days, exposed, case) in enumerate(people):
        _null_person(world, n, days, exposed, "R" if case else "S")
    return recorded_daily(world)


def _null_person(world: World, n: int, days: int, exposed: bool, category: str) -> None:
    who, before = f"p{n}", ("h11", "h12")[n % 2]
    for h in {"h11", before} if days else {"h11"}:
        world["patient"].append(patient(h, who))
        world["patient_map"].append(link(h, who, f"person-{n}"))
    if days:
        left = NULL_INDEX - timedelta(days=30)
        world["stay"].append(
            stay(before, who, who, f"{left - timedelta(days=days - 1)}", f"{left + timedelta(hours=4)}")
        )
        for drug in ("J01MA02", "J01DD04") if exposed else ("J01CR02",):
            world["administration"].append(dose(before, f"{who}{drug}", who, who, drug, f"{left + timedelta(hours=1)}"))
    world["specimen"].append(
        {**specimen("h11", who, who, f"{NULL_INDEX}"), "draw_id": who, "nature": "urine", "purpose": "diagnostic"}
    )
    isolate = {"hospital_id": "h11", "specimen_id": who, "isolate_number": 1}
    world["isolate"].append(
        {**isolate, "organism_code": "B_ESCHR_COLI", "organism_code_source": "x", "status": "final"}
    )
    for agent in ("CIP", "CTX"):
        world["susceptibility"].append(
            {
                **isolate,
                "drug_code": agent,
                "drug_code_source": agent,
                "category": category,
                "category_source": category,
            }
        )


def recorded_daily(world: World) -> World:
    """``world`` with drugs of every kind recorded on each day of the months in which it holds an administration: those are covered."""
    months = {(a["hospital_id"], a["given_at_local"].date().replace(day=1)) for a in world["administration"]}
    world["administration_day"] = [
        row
        for hospital_id, month in sorted(months)
        for row in other_drugs(hospital_id, f"{month}", monthrange(month.year, month.month)[1])
    ]
    return world
