"""What a simulation planted, to set beside the platform's estimate. Only on an installation that holds simulated hospitals alone."""

from __future__ import annotations

import json
from dataclasses import dataclass

from estuaire import ledger
from estuaire.registry import load_registry
from estuaire.settings import Settings


@dataclass(frozen=True)
class Planted:
    """One planted effect of the truth file: its odds ratio within the strata, and the crude one that its confounding makes."""

    name: str
    atc: str
    agent: str
    odds_ratio: float
    expected_crude: float | None


def planted_effects(settings: Settings) -> list[Planted]:
    """The truth file's effects; none where it is missing, or where a hospital delivered that it did not simulate."""
    try:
        truth = json.loads((settings.root / "simulation" / "truth.json").read_text(encoding="utf-8"))
        simulated = set(truth["plan"]["hospitals"])
        effects = [
            Planted(
                e["name"],
                e["exposure"].split(" of ")[1].split(" ")[0],
                e["agent"],
                e["planted_odds_ratio"],
                e["expected_crude_odds_ratio"],
            )
            for e in truth["effects"]
        ]
    except (OSError, ValueError, KeyError, IndexError):
        return []
    registry = load_registry(settings.registry_dir).hospitals
    loaded = {r["hospital_id"] for r in ledger.fetch(settings, "select hospital_id from control.load")}
    fictional = {h.id for h in registry.values() if h.fictional}
    return effects if loaded and loaded <= simulated & fictional else []
