"""The simulated world resembles hospitals: antibiotic consumption, lengths of stay, seasons, shared patients, deaths."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from estuaire.contract.registry import load_registry
from estuaire.simulator import SimulationPlan
from estuaire.simulator.clock import DAY, seconds
from estuaire.simulator.world import group, hospital_tables

PLAN = SimulationPlan(patients=4000)

# WHO DDD (2025) in grams, MIU or unit doses; by route where the index tells them apart
DDD = {
    "J01DD04": 2, "J01CR05": 14, "J01MA12": 0.5, "J01DH02": 3, "J01GB03": 0.24, "J01GB06": 1, "J01XA01": 2, "J01EE01": 4,
    "J01XD01": 1.5, "P01AB01": 2, "J01DD01": 4, "J01DD02": 4, "J01CE01": 6, "J01XB01": 9, "J01XX08": 1.2, "J01FA10": 0.3,
    "J01FF01": 1.8, "J01XE01": 0.2, "J01DB04": 3, "J01CF04": 2,
    ("J01CR02", "oral"): 1.5, ("J01CR02", "intravenous"): 3, ("J01CA04", "oral"): 1.5, ("J01CA04", "intravenous"): 3,
    ("J01MA02", "oral"): 1, ("J01MA02", "intravenous"): 0.8, ("J01XX01", "oral"): 3, ("J01XX01", "intravenous"): 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def tables() -> dict[str, pl.DataFrame]:
    registry = load_registry()
    each = [hospital_tables(PLAN, registry.get(h)) for h in PLAN.hospitals]
    return {
        name: pl.concat([t[name].with_columns(pl.lit(i).alias("_h")) for i, t in enumerate(each)]) for name in each[0]
    }


def test_consumption_is_near_the_national_one(tables: dict[str, pl.DataFrame]) -> None:
    stay, dose = tables["stay"], tables["administration"]
    full = stay.filter(pl.col("stay_type") == "full")
    nights = int((full["discharged_at"] // DAY - full["admitted_at"] // DAY).sum())
    given = dose.filter((pl.col("status") == "given") & pl.col("drug_code").str.contains("^(J01|P01AB)"))
    total = sum(
        amount / (1000 if unit == "mg" else 1) / DDD.get((code, route), DDD.get(code, np.nan))
        for code, route, unit, amount in given.select("drug_code", "route", "dose_unit", "dose").iter_rows()
    )
    assert 240 < 1000 * total / nights < 380
    assert 0.08 < len(given) / len(dose) < 0.15
    assert 200 < len(dose) / PLAN.patients < 280


def test_stays_are_plausible(tables: dict[str, pl.DataFrame]) -> None:
    everything = group(PLAN)
    stays = everything.stays
    full = stays.filter(pl.col("type") == 0)
    nights = (full["discharged"] // DAY - full["admitted"] // DAY).to_numpy()
    assert 3 <= np.median(nights) <= 6
    assert 5 <= nights.mean() <= 9
    assert 0.5 < len(full) / len(stays) < 0.7
    month = pl.from_epoch(full["admitted"]).dt.month().value_counts().sort("admitted")["count"].to_numpy()
    assert month[7] < month[0]  # August is quieter than January
    hospitals = stays.group_by("person").agg(pl.col("hospital").n_unique())["hospital"]
    assert 0.04 < (hospitals > 1).mean() < 0.08
    transfers = stays.filter(pl.col("entry") == "transfer").join(
        stays.filter(pl.col("exit") == "transfer"), on="person", how="inner", suffix="_before"
    )
    gap = transfers["admitted"] - transfers["discharged_before"]
    assert int(((gap > 0) & (gap <= 3 * 3600) & (transfers["hospital"] != transfers["hospital_before"])).sum()) > 10
    assert 0.02 < (everything.died_in >= 0).mean() < 0.12


def test_nobody_is_treated_after_death_or_in_two_stays_at_once(tables: dict[str, pl.DataFrame]) -> None:
    everything = group(PLAN)
    stays = everything.stays.sort("person", "admitted")
    same = stays["person"].to_numpy()[1:] == stays["person"].to_numpy()[:-1]
    assert (stays["admitted"].to_numpy()[1:] >= stays["discharged"].to_numpy()[:-1])[same].all()
    assert (stays["discharged"].to_numpy() <= everything.died_at[stays["person"].to_numpy()]).all()
    assert (stays["discharged"] > stays["admitted"]).all()
    dose = tables["administration"].join(tables["stay"], on=["_h", "stay_id"], how="left", suffix="_stay")
    assert dose["admitted_at"].null_count() == 0
    assert ((dose["given_at"] > dose["admitted_at"]) & (dose["given_at"] < dose["discharged_at"])).all()
    assert (dose["patient_id"] == dose["patient_id_stay"]).all()
    assert dose["given_at"].min() >= seconds(PLAN.start)  # type: ignore[operator]
    assert dose["given_at"].max() < seconds(PLAN.end)  # type: ignore[operator]


def test_keys_are_unique_and_local_ids_collide_between_hospitals_only(tables: dict[str, pl.DataFrame]) -> None:
    for table, key in (("patient", "patient_id"), ("stay", "stay_id"), ("administration", "administration_id")):
        assert not tables[table].select("_h", key).is_duplicated().any()
    twins = tables["patient"].filter(pl.col("twin_rank").is_not_null() & pl.col("national_id").is_not_null())
    pairs = twins.group_by("_h", "national_id").agg(pl.col("twin_rank").n_unique(), pl.len())
    assert (pairs["twin_rank"] == pairs["len"]).all()
    assert int((pairs["len"] == 2).sum()) > 5
