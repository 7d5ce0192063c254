"""One hospital's truth: what really happened there, in standard codes, and in which delivery each fact becomes known.

Each table is a frame of contract columns (datetimes as local seconds) plus hidden columns that begin with ``_``:
``_seq`` first delivery that holds the row, ``_late`` delivery in which its last fact (discharge, death) becomes known.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt
import polars as pl

from estuaire.registry import Hospital
from estuaire.simulator.administrations import administrations, hospital_formulary
from estuaire.simulator.clinical import booked_only, clinical_tables
from estuaire.simulator.clock import seconds
from estuaire.simulator.formulary import Regimen
from estuaire.simulator.local_codes import inverted_maps
from estuaire.simulator.plan import SimulationPlan
from estuaire.simulator.randomness import generator
from estuaire.simulator.stays import NO_DEATH, STAY_TYPES, PeopleAndStays, people_and_stays

NEVER = 1_000_000  # a delivery that will not come
LOCAL_ID_MISSING = 0.04
DEATH_TOLD_LATE = 0.35
DEATH_NEVER_TOLD = 0.15
DEATH_IN_HOSPITAL, DEATH_OUTSIDE = "hôpital", "INSEE"


@lru_cache(maxsize=1)
def group(plan: SimulationPlan) -> PeopleAndStays:
    """People and stays of the whole group, drawn once in each process."""
    return people_and_stays(plan)


def delivery_of(plan: SimulationPlan, moments: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Sequence of the delivery whose period holds each moment; NEVER after the last one."""
    ends = np.array([seconds(w.end) for w in plan.windows])
    sequence = np.searchsorted(ends, moments, side="right") + 1
    return np.where(sequence > len(ends), NEVER, sequence)


def hospital_tables(plan: SimulationPlan, hospital: Hospital) -> dict[str, pl.DataFrame]:
    """The hospital's tables, by contract name."""
    everything = group(plan)
    stays = everything.stays.filter(pl.col("hospital") == plan.hospitals.index(hospital.id))
    stays = stays.sort("admitted", maintain_order=True)
    persons = stays["person"].unique().sort().to_numpy()
    number = np.empty(plan.patients, dtype=np.int64)
    number[persons] = np.arange(len(persons))
    patient_row = number[stays["person"].to_numpy()]
    patient = _patients(plan, hospital, everything, stays, persons)
    stay = _stays(plan, hospital, stays, patient_row, patient["patient_id"])
    drug_map = inverted_maps(hospital).get("drug")
    regimens = hospital_formulary(plan, hospital.id, None if drug_map is None else set(drug_map))
    administration = _administrations(plan, hospital, stays, stay, regimens)
    doses = np.bincount(administration["_stay_row"].to_numpy(), minlength=len(stay))
    stay = stay.with_columns(pl.Series("_administrations", doses))
    stay = stay.with_columns(pl.Series("_booked", booked_only(plan, hospital.id, stay)))
    others = clinical_tables(plan, hospital, stay, regimens, partial(delivery_of, plan))
    return {"patient": patient, "stay": stay, "administration": administration, **others}


def _patients(
    plan: SimulationPlan,
    hospital: Hospital,
    everything: PeopleAndStays,
    stays: pl.DataFrame,
    persons: npt.NDArray[np.int64],
) -> pl.DataFrame:
    rng = generator(plan.seed, hospital.id, "patient")
    count = len(persons)
    folk = everything.people[persons.tolist()] if count else everything.people.head(0)
    # one range of local ids for all hospitals: the same IPP means other people elsewhere
    local = 10_000_000 + (np.arange(count, dtype=np.int64) * 7_368_787 + int(rng.integers(0, 89_999_999))) % 89_999_999
    first = stays.group_by("person").agg(pl.col("admitted").min()).sort("person")["admitted"].to_numpy()
    sequence = delivery_of(plan, first)

    died_at, place = everything.died_at[persons], everything.died_in[persons]
    own = plan.hospitals.index(hospital.id)
    told = delivery_of(plan, np.where(died_at == NO_DEATH, seconds(plan.end), died_at))
    here = (died_at < NO_DEATH) & (place == own)
    draw = rng.random(count)
    elsewhere = np.where(draw < DEATH_NEVER_TOLD, NEVER, told + (draw > 1 - DEATH_TOLD_LATE))
    late = np.where(here, told, elsewhere)
    late = np.where(died_at == NO_DEATH, NEVER, np.maximum(late, sequence))
    died = pl.Series(np.where(died_at == NO_DEATH, 0, died_at))
    return folk.select(
        pl.Series("patient_id", local).cast(pl.String),
        "birth_date",
        "sex",
        pl.when(pl.Series(died_at < NO_DEATH)).then(pl.from_epoch(died, time_unit="s").dt.date()).alias("death_date"),
        pl.when(pl.Series(died_at < NO_DEATH))
        .then(pl.when(pl.Series(here)).then(pl.lit(DEATH_IN_HOSPITAL)).otherwise(pl.lit(DEATH_OUTSIDE)))
        .alias("death_source"),
        "postcode",
        pl.when(pl.Series(rng.random(count) >= LOCAL_ID_MISSING)).then("national_id").alias("national_id"),
        "upstream_pseudonym",
        "pseudonym_authority",
        "twin_rank",
        pl.Series("_seq", sequence),
        pl.Series("_late", late),
        pl.Series("_event", first),
        pl.Series("_late_event", np.where(died_at == NO_DEATH, 0, died_at)),
    )


def _stays(
    plan: SimulationPlan, hospital: Hospital, stays: pl.DataFrame, patient_row: npt.NDArray[np.int64], ipp: pl.Series
) -> pl.DataFrame:
    count = len(stays)
    admitted, discharged = stays["admitted"].to_numpy(), stays["discharged"].to_numpy()
    year = admitted.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    number = (year % 100) * 10_000_000 + np.arange(1, count + 1)
    return pl.DataFrame(
        {
            "stay_id": pl.Series(number).cast(pl.String),
            "patient_id": ipp.gather(patient_row),
            "previous_stay_id": pl.Series([None], dtype=pl.String).new_from_index(0, count),
            "admitted_at": admitted,
            "discharged_at": discharged,
            "stay_type": pl.Series(STAY_TYPES.tolist()).gather(stays["type"].to_numpy()),
            "entry_mode": stays["entry"],
            "exit_mode": stays["exit"],
            "legal_finess": pl.Series([hospital.finess]).new_from_index(0, count),
            "geographic_finess": pl.Series([hospital.finess]).new_from_index(0, count),
            "_seq": delivery_of(plan, admitted),
            "_late": delivery_of(plan, discharged),
            "_event": admitted,
            "_late_event": discharged,
            "_patient_row": patient_row,
        }
    )


def _administrations(
    plan: SimulationPlan, hospital: Hospital, stays: pl.DataFrame, stay: pl.DataFrame, regimens: tuple[Regimen, ...]
) -> pl.DataFrame:
    drawn = administrations(plan, hospital.id, stays, regimens)
    stay_row, chosen = drawn["stay_row"].to_numpy(), drawn["regimen"].to_numpy()

    def of_regimen(values: list[str]) -> pl.Series:
        return pl.Series(values).gather(chosen)

    sequence = delivery_of(plan, drawn["given"].to_numpy())
    return pl.DataFrame(
        {
            "administration_id": pl.Series(np.arange(1, len(drawn) + 1)).cast(pl.String),
            "patient_id": stay["patient_id"].gather(stay_row),
            "stay_id": stay["stay_id"].gather(stay_row),
            "drug_code": of_regimen([r.atc for r in regimens]),
            "drug_label": of_regimen([r.label for r in regimens]),
            "dose": drawn["dose"],
            "dose_unit": of_regimen([r.unit for r in regimens]),
            "route": of_regimen([r.route for r in regimens]),
            "given_at": drawn["given"],
            "status": drawn["status"],
            "_seq": sequence,
            "_late": sequence,
            "_event": drawn["given"],
            "_late_event": drawn["given"],
            "_stay_row": stay_row,
            "_patient_row": stay["_patient_row"].gather(stay_row),
            "_admitted": stay["admitted_at"].gather(stay_row),
        }
    )
