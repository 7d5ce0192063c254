"""Specimens, isolates and results drawn at random, on the staging tables of staging_world: every rule of the marts is met often."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

from staging_world import hospital, link, moment

Tables = dict[str, list[dict[str, Any]]]

MEMBERS = ("h11", "h12")
HOSPITALS = (*MEMBERS, "h13", "h14")  # h13 is outside the study, h14's dates are shifted
ORGANISMS = (
    *("B_ESCHR_COLI",) * 5,
    *("B_KLBSL_PNMN", "B_KLBSL_PNMN_OZAN", "B_KLBSL", "B_PROTS_MRBL", "B_ENTRC_FCLS"),
    *(
        "B_ENTRBC_CLOC-C",
        "B_ENTRBC_HRMC",
        "B_ENTRBC_XNGF",
    ),  # one analysis species: a complex, a member, a synonym of it
    *("X_NO_GROWTH", "X_MIXED_FLORA", None),
)
AGENTS = ("AMX", "CTX", "CIP", "COL", "NIT", None)
CATEGORIES = (("S", "S"),) * 5 + (("R", "R"),) * 3 + (("I", "I"), ("I", "SFP"), ("ZIT", "ZIT"), (None, "voir note"))
GUIDELINES = (
    ("eucast", "2024"),
    ("eucast", "v14.0"),
    ("ca_sfm", "2019"),
    ("eucast", "2018"),
    ("clsi", "2023"),
    (None, None),
    (None, "EUCAST 14.0"),
    ("ca_sfm", "V12"),
)
INDICATIONS = (None,) * 6 + ("general", "meningitis", "uncomplicated_urinary", "?")


def draw(seed: int, isolates: int = 1500) -> Tables:
    """Few persons, so that most isolates repeat; some days hold several, some specimens are not delivered."""
    rng = random.Random(seed)  # noqa: S311 - test data
    start = datetime(2021, 1, 1)
    tables: Tables = {
        "hospital": [],
        "patient_map": [],
        "unit": [],
        "specimen": [],
        "isolate": [],
        "susceptibility": [],
    }
    for name in HOSPITALS:
        row = hospital(name, member=name != "h13")
        tables["hospital"].append({**row, "calendar": "shifted" if name == "h14" else "real"})
        tables["patient_map"] += [link(name, f"p{n}", f"person-{n if n % 3 else f'{name}-{n}'}") for n in range(12)]
        tables["unit"] += [
            {
                "hospital_id": name,
                "unit_code": code,
                "valid_from": start.date(),
                "unit_type": kind,
                "stale_correction": False,
            }
            for code, kind in (("R", "icu"), ("M", "medicine"))
        ]
    for n in range(isolates):
        name = rng.choice(HOSPITALS)
        number = rng.choice((1, 1, 1, 2))
        specimen = f"s{n}"
        if number == 2 and n:
            same = [i for i in tables["isolate"] if i["hospital_id"] == name and i["isolate_number"] == 1]
            specimen = rng.choice(same)["specimen_id"] if same else specimen
        if any(
            (i["hospital_id"], i["specimen_id"], i["isolate_number"]) == (name, specimen, number)
            for i in tables["isolate"]
        ):
            continue
        organism = rng.choice(ORGANISMS)
        key = {"hospital_id": name, "specimen_id": specimen, "isolate_number": number}
        status = rng.choice(("final", "final", "final", "final", "corrected", "preliminary", "cancelled"))
        code = {"organism_code": organism, "organism_code_source": "x"}
        tables["isolate"].append({**key, **code, "status": status, "stale_correction": False})
        known = any((s["hospital_id"], s["specimen_id"]) == (name, specimen) for s in tables["specimen"])
        if not known and rng.random() > 0.03:  # else the isolate's specimen was never delivered
            day = start + timedelta(days=rng.choice((rng.randrange(900), rng.randrange(60))))
            taken = day + timedelta(hours=rng.choice((0, 8, 8, 23)), minutes=rng.choice((0, 59)))
            twin = next((s for s in reversed(tables["specimen"]) if s["hospital_id"] == name), None)
            if rng.random() > 0.15:
                twin = None  # else another bottle of the draw before
            tables["specimen"].append(
                {
                    "hospital_id": name,
                    "specimen_id": specimen,
                    "draw_id": twin["draw_id"] if twin else specimen,
                    "patient_id": twin["patient_id"] if twin else f"p{rng.randrange(13)}",  # p12 was never delivered
                    "nature": twin["nature"] if twin else rng.choice(("blood", "urine", "urine", "csf", None)),
                    "purpose": rng.choice(("diagnostic",) * 8 + ("screening", None)),
                    "unit_code": rng.choice(("R", "M", "unknown")),
                    "stale_correction": False,
                    **moment("collected_at", f"{twin['collected_at_local'] if twin else taken}"),
                }
            )
        if organism is None or not organism.startswith("X"):
            for place, agent in enumerate(rng.choices(AGENTS, k=6)):
                category, written = rng.choice(CATEGORIES)
                guideline, version = rng.choice(GUIDELINES)
                indication = rng.choice(INDICATIONS)
                tables["susceptibility"].append(
                    {
                        **key,
                        "drug_code": agent,
                        "drug_code_source": f"{agent}-{place}",
                        "breakpoint_indication": None if indication == "?" else indication,
                        "breakpoint_indication_source": indication,
                        "category": category,
                        "category_source": written,
                        "guideline": guideline,
                        "guideline_version": version,
                        "stale_correction": False,
                    }
                )
    return tables
