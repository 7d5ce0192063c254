"""Planted effects: what an antibiotic given in the exposure window does to the resistance of the group's index isolates.

The estimand is that of the mart ``exposure_resistance``: one index isolate per person of the whole group (first diagnostic, final E. coli),
exposed if a dose of the class was given on a local day of [index - 90, index - 1] in any hospital, odds ratio conditional on the strata
ward (unit type of the specimen: icu or other) x indication (a stay admitted in the window, the index stay apart, has an infection as
diagnosis, or none has) x days observed (days of the window in full hospitalisation), among people with at least one such day.
Ward and indication change resistance and go with exposure, so the crude odds ratio is biased as ``expected_crude_odds_ratio`` says.
``HOSPITAL_NULL`` is a true null: days in hospital raise the resistance, the drug does nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from estuaire.contract.registry import Hospital
from estuaire.simulator import catalogue, clinical
from estuaire.simulator.clock import DAY
from estuaire.simulator.plan import SimulationPlan
from estuaire.simulator.randomness import generator
from estuaire.simulator.world import NEVER, delivery_of, hospital_care

WINDOW_DAYS = 90
STRATA = ("ward", "indication", "days observed")
DAYS_OBSERVED = (1, 4, 15)  # the strata 1-3, 4-14 and > 14 begin here
MERGE_GAP = DAY  # full stays this close are one; what the index one was for is no indication


@dataclass(frozen=True)
class Effect:
    """One planted effect: ATC class given, agent whose resistance it raises, odds ratio within the strata.

    ``baseline``, ``icu`` and ``infection`` are the log odds of resistance without exposure and what each stratum adds; ``hospitalised``
    what 1 to 3, 4 to 14 and more days of the window in full hospitalisation add.
    """

    name: str
    atc: str
    agent: str
    odds_ratio: float
    baseline: float
    icu: float
    infection: float
    hospitalised: tuple[float, float, float] = (0.0, 0.0, 0.0)


EFFECTS = (
    Effect("fluoroquinolone_ciprofloxacin", "J01MA", "CIP", 2.5, -2.3, 0.6, 0.8),
    Effect("third_generation_cephalosporin_cefotaxime", "J01DD", "CTX", 3.0, -2.9, 0.8, 0.8),
)
HOSPITAL_NULL = Effect("hospital_null_gentamicin", "J01DD", "GEN", 1.0, -6.0, 0.0, 0.0, (1.5, 4.5, 6.0))


def planted_effects(plan: SimulationPlan) -> tuple[Effect, ...]:
    """The plan's effects; those of every world first."""
    return (*EFFECTS, HOSPITAL_NULL) if plan.hospital_null else EFFECTS


@dataclass(frozen=True)
class HospitalFacts:
    """What one hospital adds: first draws that grow the index organism (one row a person), exposed days, infections.

    ``index``: person, collected (local seconds), draw, icu, delivered (validated before the history ends: else no delivery ever holds
    it, and the truth does not count it). ``given``: person, effect, day. ``infection``: person, admitted (local seconds), day of
    admission. ``full``: person, admitted, discharged of each full stay.
    """

    hospital: str
    index: pl.DataFrame
    given: pl.DataFrame
    infection: pl.DataFrame
    full: pl.DataFrame


def hospital_facts(plan: SimulationPlan, hospital: Hospital) -> HospitalFacts:
    """Draw the hospital's care as ``world.hospital_tables`` does, and keep what decides the group's index isolates."""
    of = partial(delivery_of, plan)
    care = hospital_care(plan, hospital)
    stay, booked = care.stay, care.stay["_booked"].to_numpy()
    unit = clinical.units(plan, hospital)
    specimen = clinical.specimens(plan, hospital.id, stay, unit, booked, of)
    isolate = clinical.isolates(plan, hospital.id, specimen, of)
    diagnosis = clinical.diagnoses(plan, hospital.id, stay, booked, of)
    return HospitalFacts(
        hospital.id,
        _index_draws(specimen, isolate),
        _given(plan, care.administration, stay),
        _infections(diagnosis, stay),
        stay.filter(pl.col("stay_type") == "full").select(
            pl.col("_person").alias("person"),
            pl.col("admitted_at").alias("admitted"),
            pl.col("discharged_at").alias("discharged"),
        ),
    )


def _index_draws(specimen: pl.DataFrame, isolate: pl.DataFrame) -> pl.DataFrame:
    index_isolates = isolate.filter(
        (pl.col("organism_code") == catalogue.INDEX_ORGANISM) & (pl.col("status") == "final")
    )
    rows = index_isolates["_specimen_row"].to_list()
    return (
        specimen[rows]
        .with_columns((index_isolates["_seq"] < NEVER).alias("delivered"))
        .filter(pl.col("purpose") == "diagnostic")
        .select(
            pl.col("_person").alias("person"),
            pl.col("collected_at").alias("collected"),
            pl.col("_draw").alias("draw"),
            (pl.col("_unit_type") == "icu").alias("icu"),
            "delivered",
        )
        .sort("collected", "draw", "delivered", descending=[False, False, True])
        .unique("person", keep="first", maintain_order=True)
    )


def _given(plan: SimulationPlan, administration: pl.DataFrame, stay: pl.DataFrame) -> pl.DataFrame:
    parts = []
    given = administration.filter(pl.col("status") == "given")
    for number, effect in enumerate(planted_effects(plan)):
        doses = given.filter(pl.col("drug_code").str.starts_with(effect.atc))
        parts.append(
            pl.DataFrame(
                {
                    "person": stay["_person"].gather(doses["_stay_row"]),
                    "effect": np.full(len(doses), number),
                    "day": doses["given_at"] // DAY,
                }
            ).unique(maintain_order=True)
        )
    return pl.concat(parts)


def _infections(diagnosis: pl.DataFrame, stay: pl.DataFrame) -> pl.DataFrame:
    rows = diagnosis.filter(pl.col("diagnosis_code").is_in(catalogue.INFECTIONS))["_stay_row"]
    admitted = stay["admitted_at"].gather(rows)
    return pl.DataFrame({"person": stay["_person"].gather(rows), "admitted": admitted, "day": admitted // DAY}).unique(
        maintain_order=True
    )


@dataclass(frozen=True)
class Planted:
    """Resistances by hospital (draw, agent, resistant), and what the truth file says of each effect."""

    by_hospital: Mapping[str, pl.DataFrame]
    truth: list[dict[str, Any]]


def _any_in_window(index: pl.DataFrame, events: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Per index row, whether its person has an event in [day - 90, day - 1]."""
    return _days_in_window(index, events) > 0


def _days_in_window(index: pl.DataFrame, events: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Per index row, the days of [day - 90, day - 1] on which its person has an event."""
    hits = (
        index.select("row", "person", "day")
        .join(events.select("person", pl.col("day").alias("event")).unique(), on="person", how="inner")
        .filter((pl.col("event") >= pl.col("day") - WINDOW_DAYS) & (pl.col("event") < pl.col("day")))
    )
    return np.bincount(hits["row"].to_numpy(), minlength=len(index)).astype(np.int64)


def _before_the_index_stay(index: pl.DataFrame, infection: pl.DataFrame, full: pl.DataFrame) -> pl.DataFrame:
    """The infections that the full stay in which the index isolate was taken did not begin with, in any of its records."""
    end = pl.col("discharged").cum_max().shift(1).over("person")
    records = full.join(index.select("person", "collected"), on="person", how="inner").sort(
        "person", "admitted", "discharged"
    )
    spell = (
        records.with_columns((end.is_null() | (pl.col("admitted") > end + MERGE_GAP)).cum_sum().alias("spell"))
        .group_by("spell")
        .agg(
            pl.col("person").first(), pl.col("collected").first(),
            pl.col("admitted").min().alias("begin"), pl.col("discharged").max().alias("end"),
        )
        .filter((pl.col("begin") <= pl.col("collected")) & (pl.col("collected") <= pl.col("end")))
    )  # fmt: skip
    return (
        infection.join(spell.select("person", "begin", "end"), on="person", how="left")
        .filter(
            pl.col("begin").is_null() | (pl.col("admitted") < pl.col("begin")) | (pl.col("admitted") > pl.col("end"))
        )
        .select("person", "day")
    )


def _observed_days(index: pl.DataFrame, full: pl.DataFrame) -> pl.DataFrame:
    """Grain: one row per person with an index isolate and day in full hospitalisation, both ends counted."""
    return (
        full.join(index.select("person"), on="person", how="semi")
        .select("person", pl.int_ranges(pl.col("admitted") // DAY, pl.col("discharged") // DAY + 1).alias("day"))
        .explode("day")
        .unique()
    )


def plant(plan: SimulationPlan, facts: list[HospitalFacts]) -> Planted:
    """Draw the resistance of each index isolate of the group, in the plan's order of hospitals."""
    empty = pl.DataFrame(schema={"draw": pl.Int64, "agent": pl.String, "resistant": pl.Boolean})
    index = (
        pl.concat([f.index.with_columns(pl.lit(f.hospital).alias("hospital")) for f in facts])
        .sort("collected", "hospital", "draw")
        .unique("person", keep="first", maintain_order=True)
        .sort("person")
        .with_row_index("row")
        .with_columns((pl.col("collected") // DAY).alias("day"))
    )
    given = pl.concat([f.given for f in facts])
    full = pl.concat([f.full for f in facts])
    infected = _any_in_window(index, _before_the_index_stay(index, pl.concat([f.infection for f in facts]), full))
    observed = _days_in_window(index, _observed_days(index, full))
    icu = index["icu"].to_numpy()
    parts, documents = [], []
    for number, effect in enumerate(planted_effects(plan)):
        exposed = _any_in_window(index, given.filter(pl.col("effect") == number))
        odds = effect.baseline + effect.icu * icu + effect.infection * infected + np.log(effect.odds_ratio) * exposed
        odds += np.array([0.0, *effect.hospitalised])[np.digitize(observed, DAYS_OBSERVED)]
        share = 1 / (1 + np.exp(-odds))
        resistant = generator(plan.seed, "effect", effect.name).random(len(index)) < share
        parts.append(
            index.select("hospital", "draw", pl.lit(effect.agent).alias("agent"), pl.Series("resistant", resistant))
        )
        told = index["delivered"].to_numpy()
        documents.append(_document(effect, exposed[told], icu[told], infected[told], observed[told], share[told]))
    whole = pl.concat(parts)
    by_hospital = {f.hospital: whole.filter(pl.col("hospital") == f.hospital).drop("hospital") for f in facts}
    return Planted({h: frame if len(frame) else empty for h, frame in by_hospital.items()}, documents)


def _document(
    effect: Effect, exposed: npt.NDArray[np.bool_], icu: npt.NDArray[np.bool_], infected: npt.NDArray[np.bool_],
    observed: npt.NDArray[np.int64], share: npt.NDArray[np.float64],
) -> dict[str, Any]:  # fmt: skip
    """What the truth file states of an effect; expected cases are sums of the probabilities that were drawn from."""
    seen = observed > 0
    strata = []
    for ward, in_icu in (("other", False), ("icu", True)):
        for indication, has in (("none", False), ("infection", True)):
            inside = seen & (icu == in_icu) & (infected == has)
            strata.append(
                {
                    "ward": ward,
                    "indication": indication,
                    "exposed": int((inside & exposed).sum()),
                    "unexposed": int((inside & ~exposed).sum()),
                    "expected_resistant_exposed": round(float(share[inside & exposed].sum()), 3),
                    "expected_resistant_unexposed": round(float(share[inside & ~exposed].sum()), 3),
                }
            )
    return {
        "name": effect.name,
        "estimand": "odds ratio of resistance (R against S and I), exposed against unexposed, conditional on the strata, among people "
        "with a day of the window in full hospitalisation",
        "index": "first diagnostic final or corrected E. coli isolate of each person of the group",
        "organism": catalogue.INDEX_ORGANISM,
        "agent": effect.agent,
        "exposure": f"a dose of {effect.atc} given on a local day of [index - {WINDOW_DAYS}, index - 1], in any hospital",
        "strata_by": list(STRATA),
        "planted_odds_ratio": effect.odds_ratio,
        "expected_crude_odds_ratio": _expected(exposed[seen], share[seen]),
        "expected_unrestricted_odds_ratio": _expected(exposed, share),
        "index_isolates": len(exposed),
        "observed": int(seen.sum()),
        "exposed": int(exposed.sum()),
        "strata": strata,
    }


def _expected(exposed: npt.NDArray[np.bool_], share: npt.NDArray[np.float64]) -> float | None:
    """Odds ratio of the table of expected counts, without strata."""
    a, c = float(share[exposed].sum()), float(share[~exposed].sum())
    b, d = float(exposed.sum()) - a, float((~exposed).sum()) - c
    return round(a * d / (b * c), 4) if b * c else None
