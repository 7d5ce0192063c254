"""The end of each stay of a test world from docs/domain/stays.md's words in plain Python, without SQL: what consolidation writes to staging."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

Rows = list[dict[str, Any]]


def told_until(world: Mapping[str, Rows]) -> dict[str, datetime]:
    """Hospital -> local end of what it delivered. A test world has no manifests: the last moment that one of its records bears."""
    found: dict[str, datetime] = {}
    for table, names in (
        ("stay", ("admitted_at_local", "discharged_at_local")),
        ("administration", ("given_at_local",)),
    ):
        for row in world.get(table, []):
            for moment in (row[n] for n in names if row[n] is not None):
                found[row["hospital_id"]] = max(found.get(row["hospital_id"], moment), moment)
    return found


def ends(world: Mapping[str, Rows]) -> dict[tuple[str, str], datetime]:
    """(hospital, stay) -> local end: the earliest of discharge (or, of an open stay, the patient's next full admission there), the end of
    the day of death as that hospital knows it, and the end of what was delivered; never before admission."""
    until = told_until(world)
    died = {(p["hospital_id"], p["patient_id"]): p.get("death_date") for p in world.get("patient", [])}
    found = {}
    for s in world.get("stay", []):
        who = (s["hospital_id"], s["patient_id"])
        candidates = [until[s["hospital_id"]]]
        if s["discharged_at_local"] is not None:
            candidates.append(s["discharged_at_local"])
        else:
            candidates += [
                o["admitted_at_local"]
                for o in world["stay"]
                if (o["hospital_id"], o["patient_id"]) == who
                and o["stay_type"] == "full"
                and o["admitted_at_local"] > s["admitted_at_local"]
            ]
        if died.get(who) is not None:
            candidates.append(datetime.combine(died[who], datetime.min.time()) + timedelta(days=1, seconds=-1))
        found[s["hospital_id"], s["stay_id"]] = max(s["admitted_at_local"], min(candidates))
    return found
