"""A random world of doses, infections and E. coli isolates for the exposure marts, beside ``staging_world``'s stays and doses."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from typing import Any

from staging_world import dose, hospital, link, moment, patient, stay

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
    return world


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
             **moment("collected_at", f"{taken}")}
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
