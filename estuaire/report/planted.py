"""What a simulation planted, to set beside the platform's estimate. Only where every hospital of the study is simulated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from estuaire.storage import ledger
from estuaire.storage.platform import Platform


@dataclass(frozen=True)
class Planted:
    """One planted effect of the truth file: its odds ratio within the strata, and the crude one that its confounding makes."""

    name: str
    atc: str
    agent: str
    odds_ratio: float
    expected_crude: float | None


def planted_effects(platform: Platform) -> list[Planted]:
    """The truth file's effects; none where it is missing, or where a hospital delivered that it did not simulate."""
    try:
        truth = json.loads((platform.settings.root / "simulation" / "truth.json").read_text(encoding="utf-8"))
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
    registry = platform.registry.hospitals
    loaded = {r["hospital_id"] for r in ledger.fetch(platform.database, "select hospital_id from control.load")}
    fictional = {h.id for h in registry.values() if h.fictional}
    # a hospital outside the study enters no estimate
    counted = {h for h in loaded if h not in registry or registry[h].study_member}
    return effects if counted and counted <= simulated & fictional else []


def matching(effects: Sequence[Planted], name: str, atc: str, agent: str) -> Planted | None:
    """The planted effect of this name, else of this exposure and agent."""
    named_effect = next((e for e in effects if e.name == name), None)
    return named_effect or next((e for e in effects if (e.atc, e.agent) == (atc, agent)), None)
