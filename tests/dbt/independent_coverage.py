"""The coverage mart computed again from its description in plain Python, without SQL or the models."""

from __future__ import annotations

import calendar
from collections import Counter
from datetime import date, timedelta
from statistics import median
from typing import Any

World = dict[str, list[dict[str, Any]]]
Record = tuple[str, date, str]  # hospital, month, table
OWN = {
    "administration": "given_at_local",
    "lab_result": "collected_at_local",
    "movement": "entered_at_local",
    "prescription": "started_at_local",
    "procedure": "performed_at_local",
    "specimen": "collected_at_local",
    "stay": "admitted_at_local",
}
PARENT = {
    "diagnosis": ("stay", "stay_id"),
    "isolate": ("specimen", "specimen_id"),
    "susceptibility": ("specimen", "specimen_id"),
}


def dated(world: World) -> list[tuple[str, date, str]]:
    """Hospital, local day and table of every record that has a day."""
    found = [(r["hospital_id"], r[c].date(), t) for t, c in OWN.items() for r in world.get(t, [])]
    found += [
        (r["hospital_id"], r["given_on"], "administration")
        for r in world.get("administration_day", [])  # of other drugs
        for _ in range(r["records"])
    ]
    for table, (parent, key) in PARENT.items():
        day = {(r["hospital_id"], r[key]): r[OWN[parent]].date() for r in world.get(parent, [])}
        found += [
            (r["hospital_id"], day[r["hospital_id"], r[key]], table)
            for r in world.get(table, [])
            if (r["hospital_id"], r[key]) in day
        ]
    return found


def records(world: World) -> Counter[Record]:
    """Records of each hospital, month and table."""
    return Counter((h, day.replace(day=1), table) for h, day, table in dated(world))


def coverage(world: World) -> dict[Record, tuple[int, float | None, str, bool]]:
    """Records, expected median, status and whether the hospital is in the group, of every hospital, month and table."""
    counts, days = records(world), dated(world)
    result: dict[Record, tuple[int, float | None, str, bool]] = {}
    for h in world["hospital"]:
        name, shifted = h["hospital_id"], h["calendar"] == "shifted"
        own = [day for hospital, day, _ in days if hospital == name]
        if not own:
            continue
        months = [min(own).replace(day=1)]
        while months[-1] < max(own).replace(day=1):
            months.append((months[-1] + timedelta(days=32)).replace(day=1))
        for table in (*OWN, *PARENT):
            series = [counts[name, m, table] for m in months]
            begun = next((i for i, n in enumerate(series) if n), len(series))
            for i, month in enumerate(months):
                before = series[max(begun, i - 12) : i]
                expected = median(before) if len(before) >= 3 and not shifted else None
                share = 1.0
                if i == len(months) - 1:
                    share = max(own).day / calendar.monthrange(month.year, month.month)[1]
                result[name, month, table] = (
                    series[i],
                    expected,
                    status(series[i], expected, share),
                    h["study_member"] and not shifted,
                )
    return result


def status(n: int, expected: float | None, share: float) -> str:
    if expected is None:
        return "no_reference"
    if n == 0:
        return "zero" if share == 1 or expected * share >= 10 else "no_reference"
    if expected == 0:
        return "no_reference"
    if n > 1.4 * expected:
        return "high"
    if n >= 0.6 * expected * share:
        return "ok"
    return "low" if share == 1 else "no_reference"
