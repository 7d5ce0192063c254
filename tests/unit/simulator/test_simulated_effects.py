"""The planted effects: their strata as the mart counts them, and a true null that changes nothing but the resistance it plants."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import cache

import polars as pl

from estuaire.contract.registry import load_registry
from estuaire.simulator import SimulationPlan, effects
from estuaire.simulator.clock import DAY, HOUR, seconds
from estuaire.simulator.world import hospital_tables

PLAN = SimulationPlan(patients=2500, years=2, deliveries=1, seed=5, other_drugs=False)
NULL = replace(PLAN, hospital_null=True)


@cache
def planted(plan: SimulationPlan) -> effects.Planted:
    registry = load_registry()
    return effects.plant(plan, [effects.hospital_facts(plan, registry.get(h)) for h in plan.hospitals])


def _at(text: str, hour: int = 10) -> int:
    return seconds(date.fromisoformat(text)) + hour * HOUR


def _index(*days: str) -> pl.DataFrame:
    return pl.DataFrame(
        {"person": list(range(len(days))), "collected": [_at(d) for d in days]},
        schema={"person": pl.Int64, "collected": pl.Int64},
    ).with_row_index("row").with_columns((pl.col("collected") // DAY).alias("day"))  # fmt: skip


def _stays(*rows: tuple[int, str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        [(person, _at(admitted), _at(discharged)) for person, admitted, discharged in rows],
        schema=["person", "admitted", "discharged"], orient="row",
    )  # fmt: skip


def test_the_index_stay_is_no_indication_in_any_of_its_records() -> None:
    """Person 0 was admitted with an infection on 20 March, moved to another record a day later at most and sampled there on 1 April; person 1
    went home ten days before; person 2 had an earlier stay, too."""
    index = _index("2024-04-01", "2024-04-01", "2024-04-01")
    full = _stays(
        (0, "2024-03-20", "2024-03-28"), (0, "2024-03-29", "2024-04-05"),
        (1, "2024-03-15", "2024-03-22"), (1, "2024-04-01", "2024-04-02"),
        (2, "2024-02-01", "2024-02-03"), (2, "2024-03-25", "2024-04-03"),
    )  # fmt: skip
    infection = full.select("person", "admitted", (pl.col("admitted") // DAY).alias("day"))
    kept = effects._before_the_index_stay(index, infection, full)
    assert sorted(kept.iter_rows()) == [(1, _at("2024-03-15") // DAY), (2, _at("2024-02-01") // DAY)]


def test_observed_days_are_those_of_full_stays_in_the_window_once() -> None:
    """2024-04-01 looks back to 2024-01-02; the index day does not count; two hospitals on one day are one day."""
    index = _index("2024-04-01", "2024-04-01")
    full = _stays(
        (0, "2023-12-30", "2024-01-03"), (0, "2024-01-03", "2024-01-04"), (0, "2024-03-31", "2024-04-02"),
        (1, "2023-12-01", "2024-01-01"),
    )  # fmt: skip
    assert effects._days_in_window(index, effects._observed_days(index, full)).tolist() == [4, 0]


def test_the_null_is_planted_beside_the_others_and_changes_nothing_of_them() -> None:
    usual, beside = planted(PLAN), planted(NULL)
    assert beside.truth[:-1] == usual.truth
    for hospital, frame in usual.by_hospital.items():
        assert beside.by_hospital[hospital].filter(pl.col("agent") != effects.HOSPITAL_NULL.agent).equals(frame)
    [h01] = [h for h in PLAN.hospitals if h == "h01"]
    hospital = load_registry().get(h01)
    plain = hospital_tables(PLAN, hospital, usual.by_hospital[h01])
    changed = hospital_tables(NULL, hospital, beside.by_hospital[h01])
    for table in plain:
        if table != "susceptibility":
            assert plain[table].equals(changed[table]), table
    same = pl.col("drug_code") != effects.HOSPITAL_NULL.agent
    assert plain["susceptibility"].filter(same).equals(changed["susceptibility"].filter(same))
    assert not plain["susceptibility"].equals(changed["susceptibility"])


def test_hospitalisation_confounds_the_null_and_the_strata_hold_it() -> None:
    """Within ward, indication and days observed exposed and unexposed have one probability of resistance; without them they seem not to."""
    null = planted(NULL).truth[-1]
    assert null["planted_odds_ratio"] == 1.0
    assert null["expected_unrestricted_odds_ratio"] > 1.5
    assert null["expected_crude_odds_ratio"] > 1.2  # among the observed alone: days observed confound, too
    assert null["strata_by"] == ["ward", "indication", "days observed"]
    assert 0 < null["observed"] < null["index_isolates"]
    assert sum(s["exposed"] for s in null["strata"]) == null["exposed"]  # nobody is given a dose who is not in hospital
