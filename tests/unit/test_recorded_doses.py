"""Doses of combinations as a hospital records them: in the simulator's files and in the sample of its guide, true doses unchanged."""

from __future__ import annotations

import gzip
from dataclasses import replace

import polars as pl
import pytest

from estuaire.contract.combinations import recorded_dose
from estuaire.contract.registry import load_registry
from estuaire.deliveries.guide import guide, sample_delivery
from estuaire.simulator import SimulationPlan
from estuaire.simulator.world import hospital_tables

PRODUCT = ("h05", "h17", "h29")


@pytest.mark.parametrize(
    ("atc", "route", "dose", "unit", "expected"),
    [
        ("J01CR05", "intravenous", 4.0, "g", 4.5),
        ("J01CR05", "intravenous", 4000.0, "mg", 4500.0),
        ("J01CR05", "intravenous", 12.0, "g", 13.5),  # one ratio: any amount
        ("J01CR01", "intravenous", 2.0, "g", 3.0),
        ("J01CR02", "intravenous", 1.0, "g", 1.2),
        ("J01CR02", "oral", 1.0, "g", 1.125),
        ("J01CR02", "oral", 0.7, "g", 0.7),  # no presentation holds it
        ("J01CA04", "oral", 1.0, "g", 1.0),
        ("J01CR05", "intravenous", 4.0, "[MIU]", 4.0),
    ],
)
def test_a_dose_of_the_product(atc: str, route: str, dose: float, unit: str, expected: float) -> None:
    assert recorded_dose(load_registry().get("h05"), atc, route, dose, unit) == expected
    assert recorded_dose(load_registry().get("h01"), atc, route, dose, unit) == dose


def test_drug_by_drug() -> None:
    real = load_registry().get("h38")
    assert recorded_dose(real, "J01CR05", "intravenous", 4.0, "g") == 4.5
    assert recorded_dose(real, "J01CR02", "oral", 1.0, "g") == 1.0


def test_three_simulated_hospitals_record_products_and_nothing_else_of_theirs_differs() -> None:
    """The same draws: what differs is the amount of a combination, by its own strength."""
    registry = load_registry()
    assert [h.id for h in registry.hospitals.values() if h.combination_doses == "product"] == list(PRODUCT)
    plan = SimulationPlan(hospitals=("h05", "h06"), patients=400, administrations_per_patient=60, years=1)
    hospital = registry.get("h05")
    as_product = hospital_tables(plan, hospital)
    as_substance = hospital_tables(plan, replace(hospital, combination_doses="substance"))
    assert set(as_product) == set(as_substance)
    for table, frame in as_product.items():
        kept = [c for c in frame.columns if not (table in ("administration", "prescription") and c == "dose")]
        assert frame.select(kept).equals(as_substance[table].select(kept)), table
    given = pl.DataFrame(
        {
            **{c: as_product["administration"][c] for c in ("drug_code", "route")},
            "ratio": as_product["administration"]["dose"] / as_substance["administration"]["dose"],
        }
    ).drop_nulls()
    ratios = {(code, route): ratio for code, route, ratio in given.unique().iter_rows() if ratio != 1}
    assert ratios == pytest.approx(
        {("J01CR05", "intravenous"): 1.125, ("J01CR02", "intravenous"): 1.2, ("J01CR02", "oral"): 1.125}
    )


def test_the_sample_teaches_what_the_platform_reads() -> None:
    """4 g of piperacillin; 4.5 g where the hospital says that it records the product. It taught 4.5 g to all."""
    for hospital, dose in (("h01", "4"), ("h05", "4.5")):
        own = load_registry().get(hospital)
        for table in ("administration", "prescription"):
            [file] = [f for f in sample_delivery(own).manifest.files if f.table == table]
            data = sample_delivery(own).files[file.path]
            if file.path.endswith(".gz"):
                data = gzip.decompress(data)
            dialect = own.dialects[own.table_dialect[table]]
            [line] = [x for x in data.decode(dialect.encoding).splitlines() if "tazobactam" in x]
            assert dialect.delimiter + dose + dialect.delimiter in line, (hospital, table)
    assert "Yours: the whole product." in guide(load_registry().get("h05"), "en")
    assert "Le vôtre : la substance." in guide(load_registry().get("h01"), "fr")
    assert "J01CR05: the whole product." in guide(load_registry().get("h38"), "en")
