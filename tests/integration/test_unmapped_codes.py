"""A hospital whose codes nobody mapped: blocked at gate 2, with a worklist; once they are mapped, it goes on by itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from small_platform import SmallPlatform, dose

from estuaire.contract.registry import FOLDER
from estuaire.runs.explain import explain
from estuaire.stewardship import codes_to_map
from estuaire.stewardship.codes_to_map import accept

PATIENT, STAY = "77;01/02/1955;f;", "900;77;15/03/2025 10:00;HC"


def test_blocked_with_its_worklist_then_mapped(new_platform: Callable[[], SmallPlatform], tmp_path: Path) -> None:
    platform = new_platform()
    shutil.copytree(FOLDER, tmp_path / "registry", ignore=shutil.ignore_patterns("__pycache__"))
    platform = replace(platform, settings=platform.settings.model_copy(update={"registry_dir": tmp_path / "registry"}))
    # the first delivery: half of the statuses are texts that no map knows, and one drug of many
    doses = [dose(f"a{n}") for n in range(3)] + [dose(f"b{n}").replace(";F", ";Fait") for n in range(3)]
    platform.deliver("full", 1, kind="full", patient=[PATIENT], stay=[STAY], administration=doses)
    platform.land()
    result = platform.consolidate()
    assert (result["hospitals"], result["blocked"]) == ([], ["h01"])
    reasons = platform.ask("select reasons from quality.verdict where stage = 'consolidated' and hospital_id = 'h01'")
    assert reasons == [("administration.status.mapped: 3 of 6",)]
    [entry] = codes_to_map.worklist(platform, hospital="h01")
    assert (entry.code_system, entry.local_code, entry.records) == ("administration_status", "Fait", 3)
    assert entry.columns == {"administration.status": 3}
    assert entry.marts == ["antibiotic_consumption", "coverage", "exposure_resistance"]
    assert entry.blocked == ["h01"]
    told = explain(platform, "h01/full")
    assert ("worklist", "estuaire worklist --hospital h01") in [(s.kind, s.command) for s in told.next]

    # a reviewer maps it: the next run takes the hospital up, and nothing is left to map
    accept(platform, "h01", "administration_status", "Fait", "given", "Dr A")
    assert platform.consolidate()["hospitals"] == ["h01"]
    assert codes_to_map.worklist(platform, hospital="h01") == []

    # a later delivery is blocked again: its codes are listed, the records in use stay
    more = [dose(f"c{n}").replace(";F", ";Donné ?") for n in range(6)]
    platform.deliver("delta", 2, administration=more)
    platform.land()
    assert platform.consolidate()["blocked"] == ["h01"]
    assert [(e.local_code, e.records, e.blocked) for e in codes_to_map.worklist(platform)] == [("Donné ?", 6, ["h01"])]
    assert platform.in_lake("select count(*) from lake.consolidated.administration") == [(6,)]
