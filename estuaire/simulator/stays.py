"""Stays of everybody in all hospitals, and deaths. Grain: one row a stay; one person's stays never overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from estuaire.simulator.clock import DAY, HOUR, Seconds, avoid_clock_change, seconds
from estuaire.simulator.plan import SimulationPlan
from estuaire.simulator.population import month_weights, people
from estuaire.simulator.randomness import generator

FULL, SESSION = 0, 2
STAY_TYPES = np.array(["full", "day", "session"])
TYPE_SHARES = (0.60, 0.25, 0.15)
ROWS_PER_STAY = 26.2  # administrations per stay, all types; measured, see docs of ``administrations``
MEDIAN_NIGHTS, SIGMA_NIGHTS, MAX_NIGHTS = 4.3, 0.95, 120
SPLIT_STAYS, SPLIT_NAMED = 0.03, 0.3  # full stays kept as two records; share whose second record names the first
NO_DEATH = np.iinfo(np.int64).max


@dataclass(frozen=True)
class PeopleAndStays:
    """The whole group's people (one row each), stays, and per person the second of death (``NO_DEATH`` if alive) and the
    hospital position where it happened (-1: outside)."""

    people: pl.DataFrame
    stays: pl.DataFrame
    died_at: Seconds
    died_in: npt.NDArray[np.int64]


def people_and_stays(plan: SimulationPlan) -> PeopleAndStays:
    """Draw the group's stays.

    Stay columns: person, hospital (position), admitted, discharged (local seconds), type (0 full, 1 day, 2 session),
    entry, exit (standard codes), split (number shared by the two records of one stay; -1: one record).
    """
    folk = people(plan)
    rng = generator(plan.seed, "stays")
    person, hospital, kind = _who_goes_where(rng, plan, folk)
    admitted = _admission_times(rng, plan, kind)
    effect = np.array([generator(plan.seed, h, "length").lognormal(0.0, 0.08) for h in plan.hospitals])
    discharged = _discharge_times(rng, kind, admitted, effect[hospital])
    count = len(person)
    entry = rng.choice(
        np.array(["home", "emergency", "transfer", "internal_transfer"]), count, p=[0.55, 0.38, 0.04, 0.03]
    )
    leave = rng.choice(np.array(["home", "transfer", "internal_transfer"]), count, p=[0.92, 0.04, 0.04])
    entry = np.where(kind == FULL, entry, "home")
    leave = np.where(kind == FULL, leave, "home")

    # transfers inside the group: a second full stay begins one to three hours after the first, in the other hospital
    home, second = folk["home"].to_numpy(), folk["second"].to_numpy()
    moved = np.flatnonzero((second[person] >= 0) & (kind == FULL) & (rng.random(count) < 0.2))
    target = np.where(hospital[moved] == home[person[moved]], second[person[moved]], home[person[moved]])
    arrival = discharged[moved] + rng.integers(HOUR, 3 * HOUR, len(moved))
    leave[moved] = "transfer"
    onward = _discharge_times(rng, kind[moved], arrival, effect[target])

    first, last = plan.start, plan.end
    frame = pl.DataFrame(
        {
            "person": np.concatenate([person, person[moved]]),
            "hospital": np.concatenate([hospital, target]),
            "admitted": avoid_clock_change(np.concatenate([admitted, arrival]), first, last),
            "discharged": avoid_clock_change(np.concatenate([discharged, onward]), first, last),
            "type": np.concatenate([kind, kind[moved]]),
            "entry": np.concatenate([entry, np.full(len(moved), "transfer")]),
            "exit": np.concatenate([leave, np.full(len(moved), "home")]),
        }
    ).sort("person", "admitted", maintain_order=True)
    frame = _without_overlaps(frame).filter(pl.col("admitted") < seconds(last))
    frame = _with_splits(generator(plan.seed, "splits"), plan, frame)
    return _with_deaths(generator(plan.seed, "deaths"), plan, folk, frame)


def _who_goes_where(
    rng: np.random.Generator, plan: SimulationPlan, folk: pl.DataFrame
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Person, hospital and type of each stay; the number of stays is over-dispersed, at least one (two if shared)."""
    mean = max(plan.administrations_per_patient / ROWS_PER_STAY - 1.0, 0.0)
    frailty = rng.gamma(1.6, 1 / 1.6, plan.patients)
    second = folk["second"].to_numpy()
    stays = np.minimum(1 + rng.poisson(mean * frailty), 60) + (second >= 0)
    person = np.repeat(np.arange(plan.patients), stays)
    rank = np.arange(len(person)) - np.repeat(np.cumsum(stays) - stays, stays)
    elsewhere = (second[person] >= 0) & ((rank == 1) | ((rank > 1) & (rng.random(len(person)) < 0.3)))
    hospital = np.where(elsewhere, second[person], folk["home"].to_numpy()[person])
    kind = rng.choice(3, size=len(person), p=TYPE_SHARES)
    return person, hospital.astype(np.int64), kind.astype(np.int64)


def _admission_times(rng: np.random.Generator, plan: SimulationPlan, kind: npt.NDArray[np.int64]) -> Seconds:
    weights = month_weights(plan.start, plan.end)
    day = rng.choice(len(weights), size=len(kind), p=weights / weights.sum())
    planned = rng.normal(9.0, 1.3, len(kind)).clip(6.5, 13.0)
    urgent = rng.uniform(0.0, 24.0, len(kind))
    hour = np.where((kind == FULL) & (rng.random(len(kind)) < 0.55), urgent, planned)
    minutes = (hour * 60).astype(np.int64)
    return seconds(plan.start) + day * DAY + minutes * 60


def _discharge_times(
    rng: np.random.Generator, kind: npt.NDArray[np.int64], admitted: Seconds, effect: npt.NDArray[np.float64]
) -> Seconds:
    count = len(kind)
    nights = np.ceil(rng.lognormal(np.log(MEDIAN_NIGHTS), SIGMA_NIGHTS, count) * effect).clip(1, MAX_NIGHTS)
    leave = rng.normal(13.5, 2.2, count).clip(8.0, 21.0)
    full = admitted - admitted % DAY + nights.astype(np.int64) * DAY + (leave * 60).astype(np.int64) * 60
    short = admitted + (rng.uniform(2.0, 9.0, count) * 60).astype(np.int64) * 60
    return np.where(kind == FULL, full, short)


def _without_overlaps(frame: pl.DataFrame) -> pl.DataFrame:
    """Drop stays that begin before an earlier one of the same person has ended; the first always remains."""
    span = 10**11
    base = frame["person"].to_numpy() * span
    ended = np.maximum.accumulate(base + frame["discharged"].to_numpy())
    before = np.concatenate([[-1], ended[:-1]])
    return frame.filter(pl.Series(base + frame["admitted"].to_numpy() > before))


def _with_splits(rng: np.random.Generator, plan: SimulationPlan, frame: pl.DataFrame) -> pl.DataFrame:
    """Some full stays of three days or more as two records: the second begins 1 to 20 hours after the first ends."""
    admitted, discharged = frame["admitted"].to_numpy(), frame["discharged"].to_numpy()
    chosen = np.flatnonzero(
        (frame["type"].to_numpy() == FULL) & (discharged - admitted > 3 * DAY) & (rng.random(len(frame)) < SPLIT_STAYS)
    )
    length = (discharged - admitted)[chosen]
    cut = admitted[chosen] + (length * rng.uniform(0.3, 0.6, len(chosen))).astype(np.int64) // 60 * 60
    cut = avoid_clock_change(cut, plan.start, plan.end)
    back = avoid_clock_change(cut + rng.integers(HOUR, 20 * HOUR, len(chosen)) // 60 * 60, plan.start, plan.end)
    split = np.full(len(frame), -1)
    split[chosen] = np.arange(len(chosen))
    left, leave = discharged.copy(), frame["exit"].to_numpy().copy()
    left[chosen], leave[chosen] = cut, "internal_transfer"
    second = frame[chosen.tolist()].with_columns(
        pl.Series("admitted", back),
        pl.lit("internal_transfer").alias("entry"),
        pl.Series("split", split[chosen]),
    )
    first = frame.with_columns(pl.Series("discharged", left), pl.Series("exit", leave), pl.Series("split", split))
    whole = pl.concat([first, second]).filter(pl.col("admitted") < seconds(plan.end))
    return whole.sort("person", "admitted", maintain_order=True)


def _with_deaths(
    rng: np.random.Generator, plan: SimulationPlan, folk: pl.DataFrame, stays: pl.DataFrame
) -> PeopleAndStays:
    """End some last full stays in death, and let some people die later outside hospital."""
    person = stays["person"].to_numpy()
    last = np.flatnonzero(np.concatenate([person[1:] != person[:-1], [True]])) if len(person) else person
    who = person[last]
    age = (np.datetime64(plan.end) - folk["birth_date"].to_numpy()[who].astype("datetime64[D]")).astype(
        np.int64
    ) / 365.25
    risk = np.clip(0.004 * np.exp(0.043 * age), 0, 0.35)
    full = stays["type"].to_numpy()[last] == FULL
    inside = full & (rng.random(len(last)) < risk)
    outside = ~inside & (rng.random(len(last)) < risk * 0.6)
    discharged = stays["discharged"].to_numpy()[last]
    later = discharged + DAY + (rng.exponential(240.0, len(last)) * DAY).astype(np.int64)
    died_at = np.full(plan.patients, NO_DEATH, dtype=np.int64)
    died_in = np.full(plan.patients, -1, dtype=np.int64)
    died_at[who[inside]] = discharged[inside]
    died_in[who[inside]] = stays["hospital"].to_numpy()[last][inside]
    died_at[who[outside]] = later[outside]
    died_at[died_at >= seconds(plan.end)] = NO_DEATH
    leave = stays["exit"].to_numpy().copy()
    leave[last[inside]] = "death"
    return PeopleAndStays(folk, stays.with_columns(pl.Series("exit", leave)), died_at, died_in)
