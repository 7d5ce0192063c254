"""Writes small worlds with many traps, for the tests of the simulator."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from estuaire.base.settings import Settings
from estuaire.simulator import SimulationPlan, SimulationSummary, simulate
from estuaire.simulator.trap_catalogue import CATALOGUE

RATES = {trap.name: 0.02 if trap.table != "administration" else 0.004 for trap in CATALOGUE}


@dataclass(frozen=True)
class World:
    plan: SimulationPlan
    folder: Path
    summary: SimulationSummary

    @property
    def truth(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.summary.truth_path.read_text(encoding="utf-8"))
        return document

    def bytes(self) -> dict[str, bytes]:
        landing = self.folder / "landing"
        return {p.relative_to(landing).as_posix(): p.read_bytes() for p in sorted(landing.rglob("*")) if p.is_file()}


def write(folder: Path, *, workers: int = 1, **changes: Any) -> World:
    parameters: dict[str, Any] = {"patients": 150, "administrations_per_patient": 120, "trap_rates": RATES} | changes
    plan = SimulationPlan(**parameters)
    summary = simulate(Settings(_env_file=None, home=folder / "home"), plan, workers=workers, target=folder)
    return World(plan, folder, summary)
