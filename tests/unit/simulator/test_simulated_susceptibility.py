"""What the simulated laboratories say of drugs to which a species is resistant by nature."""

from __future__ import annotations

import numpy as np

from estuaire.contract.registry import load_registry
from estuaire.simulator import SimulationPlan, catalogue
from estuaire.simulator.changes import CHANGES, TableState
from estuaire.simulator.world import hospital_tables


def test_an_intrinsic_drug_is_never_reported_susceptible() -> None:
    """Before changes and traps: K. pneumoniae and E. cloacae to amoxicillin (48 % S once), E. cloacae to amoxicillin-clavulanate."""
    tables = hospital_tables(SimulationPlan(patients=2000, hospitals=("h01", "h02")), load_registry().get("h01"))
    isolate, result = tables["isolate"], tables["susceptibility"]
    organism = {(s, n): o for s, n, o in isolate.select("specimen_id", "isolate_number", "organism_code").iter_rows()}
    told: dict[bool, list[str]] = {True: [], False: []}
    for s, n, agent, category in result.select("specimen_id", "isolate_number", "drug_code", "category").iter_rows():
        told[(organism[s, n], agent) in catalogue.intrinsic()].append(category)
    assert len(told[True]) > 30
    assert set(told[True]) == {"R"}
    assert {"S", "I", "R"} <= set(told[False])


def test_nor_is_it_corrected_to_susceptible() -> None:
    """The full simulation once did: E. cloacae, amoxicillin-clavulanate S, in a delta of h22."""
    tables = hospital_tables(SimulationPlan(patients=2000, hospitals=("h01", "h02")), load_registry().get("h01"))
    state = TableState.of(tables["susceptibility"])
    rows = np.arange(len(state.frame))
    window = SimulationPlan().windows[-1]
    corrected = CHANGES["susceptibility"].correct(state, rows, window, np.random.default_rng(1))["category"]
    by_nature = state.frame["_by_nature"]
    assert set(corrected.filter(by_nature)) == {"R"}
    assert set(corrected.filter(~by_nature)) == {"S", "R"}
