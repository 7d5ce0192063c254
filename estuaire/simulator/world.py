"""One hospital's truth: what really happened there, in standard codes, and in which delivery each fact becomes known.

Each table is a frame of contract columns (datetimes as local seconds) plus hidden columns that begin with ``_``:
``_seq`` first delivery that holds the row, ``_late`` delivery in which its last fact (discharge, death) becomes known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt
import polars as pl

from estuaire.contract.combinations import recorded_dose
from estuaire.contract.registry import Hospital
from estuaire.simulator.administrations import administrations, hospital_formulary
from estuaire.simulator.clinical import booked_only, clinical_tables
from estuaire.simulator.clock import DAY, HOUR, avoid_clock_change, seconds
from estuaire.simulator.formulary import Regimen
from estuaire.simulator.local_codes import inverted_maps
from estuaire.simulator.plan import SimulationPlan
from estuaire.simulator.randomness import generator
from estuaire.simulator.stays import NO_DEATH, SPLIT_NAMED, STAY_TYPES, PeopleAndStays, people_and_stays

NEVER = 1_000_000  # a delivery that will not come
LOCAL_ID_MISSING = 0.04
SECOND_IDENTITIES = 0.005
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


@dataclass(frozen=True)
class Care:
    """A hospital's people, stays and doses: what the other tables hang on."""

    patient: pl.DataFrame
    patient_merge: pl.DataFrame
    stay: pl.DataFrame
    administration: pl.DataFrame
    regimens: tuple[Regimen, ...]


def hospital_care(plan: SimulationPlan, hospital: Hospital) -> Care:
    """The hospital's patients, merges, stays and administrations."""
    everything = group(plan)
    stays = everything.stays.filter(pl.col("hospital") == plan.hospitals.index(hospital.id))
    stays = stays.sort("admitted", maintain_order=True)
    persons = stays["person"].unique().sort().to_numpy()
    number = np.empty(plan.patients, dtype=np.int64)
    number[persons] = np.arange(len(persons))
    patient_row = number[stays["person"].to_numpy()]
    patient = _patients(plan, hospital, everything, stays, persons)
    patient, patient_merge, patient_row = _second_identities(plan, hospital.id, patient, stays, patient_row)
    stay = _stays(plan, hospital, stays, patient_row, patient["patient_id"])
    drug_map = inverted_maps(hospital).get("drug")
    regimens = tuple(
        replace(r, dose=recorded_dose(hospital, r.atc, r.route, r.dose, r.unit))
        for r in hospital_formulary(plan, hospital.id, None if drug_map is None else set(drug_map))
    )
    administration = _administrations(plan, hospital, stays, stay, regimens)
    doses = np.bincount(administration["_stay_row"].to_numpy(), minlength=len(stay))
    stay = stay.with_columns(pl.Series("_administrations", doses))
    antibacterial = np.array([r.antibacterial for r in regimens])[administration["_regimen"].to_numpy()]
    treated = np.bincount(administration["_stay_row"].to_numpy()[antibacterial], minlength=len(stay)) > 0
    stay = stay.with_columns(pl.Series("_treated", treated))
    stay = stay.with_columns(pl.Series("_booked", booked_only(plan, hospital.id, stay)))
    return Care(patient, patient_merge, stay, administration, regimens)


def hospital_tables(
    plan: SimulationPlan, hospital: Hospital, planted: pl.DataFrame | None = None
) -> dict[str, pl.DataFrame]:
    """The hospital's tables, by contract name.

    Args:
        planted: resistances that ``effects`` draws for the group's index isolates; None: every isolate has the usual shares.
    """
    care = hospital_care(plan, hospital)
    others = clinical_tables(plan, hospital, care.stay, care.regimens, partial(delivery_of, plan), planted)
    return {
        "patient": care.patient,
        "patient_merge": care.patient_merge,
        "stay": care.stay,
        "administration": care.administration,
        **others,
    }


def _second_identities(
    plan: SimulationPlan, hospital: str, patient: pl.DataFrame, stays: pl.DataFrame, patient_row: npt.NDArray[np.int64]
) -> tuple[pl.DataFrame, pl.DataFrame, npt.NDArray[np.int64]]:
    """Some people get a second local id at a later stay, half of these without national identifier; the two are merged afterwards.

    Returns:
        Patients (second identities last), merges (grain: one row a former id), patient row of each stay.
    """
    rng = generator(plan.seed, hospital, "merge")
    admitted = stays["admitted"].to_numpy()
    count = len(patient)
    first = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first, patient_row, admitted)
    last = np.zeros(count, dtype=np.int64)
    np.maximum.at(last, patient_row, admitted)
    eligible = np.flatnonzero(last > first)
    wanted = min(len(eligible), max(1, int(count * SECOND_IDENTITIES)))
    rows = np.sort(rng.choice(eligible, wanted, replace=False)) if wanted else eligible
    begin = last[rows]  # the last stay is recorded under the second id
    merged_at = begin + rng.integers(6 * HOUR, 200 * DAY, len(rows)) // 60 * 60
    recent = seconds(plan.windows[-1].start) if len(plan.windows) > 1 else 0
    # every hospital merges in a delta too: one id in three, wherever the stay came before
    soon = (np.arange(len(rows)) % 3 == 0) & (begin < recent)
    merged_at[soon] = recent + rng.integers(0, 25 * DAY, int(soon.sum())) // 60 * 60
    merged_at = avoid_clock_change(merged_at, plan.start, plan.end)
    new_row = np.full(count, -1)
    new_row[rows] = count + np.arange(len(rows))
    moved = (new_row[patient_row] >= 0) & (admitted == last[patient_row])
    patient_row = np.where(moved, new_row[patient_row], patient_row)
    # 90 million ids are walked through in steps: the numbers after the first ones are free
    number = patient["patient_id"].cast(pl.Int64).to_numpy()
    start = int(number[0]) - 10_000_000 if count else 0
    local = 10_000_000 + (start + (count + np.arange(len(rows), dtype=np.int64)) * 7_368_787) % 89_999_999
    nameless = pl.Series(rng.random(len(rows)) < 0.5)
    never = np.full(len(rows), NEVER)
    second = patient[rows.tolist()].with_columns(
        pl.Series("patient_id", local).cast(pl.String),
        pl.lit(None, dtype=pl.Date).alias("death_date"),
        pl.lit(None, dtype=pl.String).alias("death_source"),
        pl.when(~nameless).then("national_id").alias("national_id"),
        pl.when(~nameless).then("upstream_pseudonym").alias("upstream_pseudonym"),
        pl.when(~nameless).then("pseudonym_authority").alias("pseudonym_authority"),
        pl.Series("_seq", delivery_of(plan, begin)),
        pl.Series("_late", never),
        pl.Series("_event", begin),
        pl.Series("_late_event", np.zeros(len(rows), dtype=np.int64)),
    )
    sequence = delivery_of(plan, merged_at)
    merge = pl.DataFrame(
        {
            "old_patient_id": second["patient_id"],
            "new_patient_id": patient["patient_id"].gather(rows),
            "merged_at": merged_at,
            "_seq": sequence,
            "_late": sequence,
            "_event": merged_at,
            "_late_event": merged_at,
            "_old_row": count + np.arange(len(rows)),
            "_survivor_row": rows,
        }
    )
    return pl.concat([patient, second]), merge, patient_row


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
    hospital_index = plan.hospitals.index(hospital.id)
    told = delivery_of(plan, np.where(died_at == NO_DEATH, seconds(plan.end), died_at))
    here = (died_at < NO_DEATH) & (place == hospital_index)
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
    stay_id = pl.Series(number).cast(pl.String)
    # of the two records of a split stay (in order of admission), the second may name the first
    split = stays["split"].to_numpy()
    order = np.lexsort((admitted, split))
    second = order[1:][(split[order][1:] == split[order][:-1]) & (split[order][1:] >= 0)]
    before = order[:-1][(split[order][1:] == split[order][:-1]) & (split[order][1:] >= 0)]
    named = generator(plan.seed, hospital.id, "previous").random(len(second)) < SPLIT_NAMED
    previous = np.full(count, -1)
    previous[second[named]] = before[named]
    return pl.DataFrame(
        {
            "stay_id": stay_id,
            "patient_id": ipp.gather(patient_row),
            "previous_stay_id": pl.select(
                pl.when(pl.Series(previous) >= 0).then(stay_id.gather(np.maximum(previous, 0)) if count else stay_id)
            ).to_series(),
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
            "_person": stays["person"],
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
            "_regimen": chosen,
        }
    )
