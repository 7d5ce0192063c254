"""Real loads and publishes: the partitions that a release was built from are kept while a hospital's newer rows are refused by gate 3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_platform import SmallPlatform, rewrite_as

from estuaire.base.settings import Settings
from estuaire.gates import consolidated as gate
from estuaire.simulator import SimulationPlan, simulate
from estuaire.simulator.trap_catalogue import CATALOGUE

DELIVERY = "2025-10-full"
RULE = "prescription.dose.positive"  # gate 2 has none like it


def spoiled(platform: SmallPlatform, results: dict[str, list[dict[str, Any]]]) -> None:
    """h01's prescriptions with negative doses, as its consolidation would have written and counted them."""
    [outcome] = [o for o in results["h01"] if o["table"] == "prescription"]
    path = platform.settings.store_path / outcome["output"]
    rewrite_as(path, "select * replace (-1::decimal(18,6) as dose) from t")
    outcome["checks"] = gate.count(str(path), "prescription")
    outcome["content_hash"] = "spoiled"


@pytest.mark.faults
def test_a_hospital_that_gate_3_refuses_is_served_as_it_was(
    new_platform: Callable[[], SmallPlatform], tmp_path: Path
) -> None:
    platform = new_platform()
    plan = SimulationPlan(
        patients=200,
        hospitals=("h01", "h02"),
        administrations_per_patient=4,
        trap_rates={t.name: 0.0 for t in CATALOGUE},
    )
    simulate(Settings(_env_file=None, home=tmp_path / "home"), plan, target=tmp_path)
    for hospital in ("h01", "h02"):
        platform.copy_delivery(tmp_path, hospital, DELIVERY)
    platform.land()
    assert platform.consolidate()["blocked"] == []
    platform.load()
    first = platform.publish()
    assert first.held_back == ()
    # release number and build time apart, what is published of h01
    mart = "select month, table_name, records, status from marts.coverage where hospital_id = 'h01' order by 1, 2"
    served = platform.ask(mart)
    doses = platform.ask("select min(dose), max(dose), count(*) from conformed.prescription where hospital_id = 'h01'")

    platform.execute("update control.consolidation set input_hash = 'of another input' where hospital_id = 'h01'")
    assert platform.consolidate(before_audit=lambda results: spoiled(platform, results))["hospitals"] == ["h01"]
    assert platform.load()["hospitals"] == ["h01"]
    [(staged, kept)] = platform.ask(
        "select (select max(dose) from staging.prescription where hospital_id = 'h01'), "
        "(select max(dose) from staging_served.prescription_h01)"
    )
    assert staged == -1
    assert kept == doses[0][1]
    second = platform.publish()
    assert (second.state, second.held_back) == ("published", ("h01",))
    assert f"h01 is held back (gate conformed: {RULE}: " in second.message
    assert platform.ask(mart) == served
    assert (
        platform.ask("select min(dose), max(dose), count(*) from conformed.prescription where hospital_id = 'h01'")
        == doses
    )
    # nothing new: neither loaded nor judged again
    assert platform.load()["hospitals"] == []
    assert platform.publish().state == "unchanged"

    # mended: what is kept is still what is served, until a release has the newest content (tests/dbt/test_held_back.py)
    platform.execute("update control.consolidation set input_hash = 'of another input' where hospital_id = 'h01'")
    assert platform.consolidate()["hospitals"] == ["h01"]
    assert platform.load()["hospitals"] == ["h01"]
    assert platform.ask(
        "select (select max(dose) from staging.prescription where hospital_id = 'h01'), "
        "(select max(dose) from staging_served.prescription_h01)"
    ) == [(kept, kept)]
