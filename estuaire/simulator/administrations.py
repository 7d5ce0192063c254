"""Drug administrations of one hospital. Grain: one row a dose given, not given or cancelled.

At the default sizes about 12 % of the rows are antibacterials and consumption is near 300 DDD per 1,000 patient-days
(SPARES 2023: 312); ``tests/unit/simulator`` holds both.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import polars as pl

from estuaire.simulator.clock import DAY, HOUR, Seconds, avoid_clock_change, seconds
from estuaire.simulator.formulary import REGIMENS, Regimen
from estuaire.simulator.plan import SimulationPlan
from estuaire.simulator.randomness import generator
from estuaire.simulator.stays import FULL

ANTIBIOTIC_STAYS = 0.38
SECOND_COURSE = 0.30
NOT_GIVEN, CANCELLED = 0.03, 0.01
FIRST_ROUND = 8 * HOUR
SHARE_IN_MG = 0.2

_Index = npt.NDArray[np.int64]


def hospital_formulary(plan: SimulationPlan, hospital: str, codes: Collection[str] | None) -> tuple[Regimen, ...]:
    """The regimens that a hospital's drug codes can express, some grams written in milligrams.

    Args:
        codes: ATC codes that its drug map reaches; None if it delivers ATC codes itself.
    """
    rng = generator(plan.seed, hospital, "formulary")
    in_mg = rng.random(len(REGIMENS)) < SHARE_IN_MG
    return tuple(
        Regimen(r.atc, r.label, r.route, r.dose * 1000, "mg", r.times_per_day, r.days, r.weight)
        if mg and r.unit == "g"
        else r
        for r, mg in zip(REGIMENS, in_mg, strict=True)
        if (codes is None or r.atc in codes) and (plan.other_drugs or r.antibacterial)
    )


def administrations(
    plan: SimulationPlan, hospital: str, stays: pl.DataFrame, regimens: tuple[Regimen, ...]
) -> pl.DataFrame:
    """The hospital's administrations, ordered by time.

    Args:
        stays: the hospital's stays, with admitted, discharged (seconds) and type.

    Returns:
        stay_row (position in ``stays``), regimen (position in ``regimens``), given (seconds), status, dose.
    """
    rng = generator(plan.seed, hospital, "administration")
    effects = generator(plan.seed, hospital, "antibiotics")  # its own: the same habits at every size
    admitted, discharged = stays["admitted"].to_numpy(), stays["discharged"].to_numpy()
    kind = stays["type"].to_numpy()
    parts = [
        _antibiotic_courses(rng, effects, regimens, admitted, discharged, kind),
        _other_courses(rng, regimens, admitted, discharged, kind),
    ]
    stay, regimen, start, days = (np.concatenate(column) for column in zip(*parts, strict=True))

    times = np.array([r.times_per_day for r in regimens], dtype=np.int64)[regimen]
    doses = (days * times).astype(np.int64)
    course = np.repeat(np.arange(len(stay)), doses)
    number = np.arange(len(course)) - np.repeat(np.cumsum(doses) - doses, doses)
    interval = (DAY // times)[course]
    given = start[course] + number * interval + rng.integers(0, 45, len(course)) * 60
    given = avoid_clock_change(given, plan.start, plan.end)
    inside = (given < discharged[stay[course]]) & (given < seconds(plan.end)) & (given > admitted[stay[course]])
    course, given = course[inside], given[inside]

    draw = rng.random(len(course))
    status = np.where(draw < NOT_GIVEN, 1, np.where(draw < NOT_GIVEN + CANCELLED, 2, 0))
    order = np.argsort(given, kind="stable")
    chosen = regimen[course][order]
    dose = np.array([r.dose for r in regimens])[chosen]
    return pl.DataFrame(
        {
            "stay_row": stay[course][order],
            "regimen": chosen,
            "given": given[order],
            "status": pl.Series(["given", "not_given", "cancelled"]).gather(status[order]),
            "dose": pl.Series(dose),
        }
    ).with_columns(pl.when(pl.col("status") != "not_given").then("dose").alias("dose"))


def _first_round_after(moment: Seconds, times: _Index) -> Seconds:
    """The drug round (08:00, then every 24 h / times) that follows each moment."""
    interval = DAY // times
    since = moment - FIRST_ROUND
    return FIRST_ROUND + (since // interval + 1) * interval


def _antibiotic_courses(
    rng: np.random.Generator, effects: np.random.Generator, regimens: tuple[Regimen, ...], admitted: Seconds,
    discharged: Seconds, kind: _Index,
) -> tuple[_Index, _Index, Seconds, npt.NDArray[np.float64]]:  # fmt: skip
    """Courses of antibacterials in full stays: likelier in winter, some beginning later in the stay, some doubled."""
    positions = np.array([i for i, r in enumerate(regimens) if r.antibacterial], dtype=np.int64)
    propensity = ANTIBIOTIC_STAYS * effects.lognormal(0.0, 0.10)
    weights = np.array([regimens[i].weight for i in positions]) * effects.lognormal(0.0, 0.20, len(positions))
    month = admitted.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) % 12
    season = 1 + 0.15 * np.cos(2 * np.pi * (month - 0.5) / 12)
    treated = np.flatnonzero((kind == FULL) & (rng.random(len(kind)) < propensity * season))
    doubled = treated[rng.random(len(treated)) < SECOND_COURSE]
    stay = np.concatenate([treated, doubled])
    regimen = rng.choice(positions, size=len(stay), p=weights / weights.sum())
    mean = np.array([r.days for r in regimens])[regimen]
    days = np.ceil(rng.gamma(4.0, mean / 4.0)).clip(1, 42)
    length = (discharged - admitted)[stay]
    delay = np.where(rng.random(len(stay)) < 0.65, 0.0, rng.random(len(stay)) * 0.8)
    times = np.array([r.times_per_day for r in regimens], dtype=np.int64)[regimen]
    start = _first_round_after(admitted[stay] + (delay * length).astype(np.int64), times)
    return stay, regimen, start, days


def _other_courses(
    rng: np.random.Generator, regimens: tuple[Regimen, ...], admitted: Seconds, discharged: Seconds, kind: _Index
) -> tuple[_Index, _Index, Seconds, npt.NDArray[np.float64]]:
    """Common other drugs: through a full stay, or once in a day case or session."""
    stays, chosen, starts, lengths = [], [], [], []
    for position, regimen in enumerate(regimens):
        if regimen.antibacterial:
            continue
        has = np.flatnonzero(rng.random(len(kind)) < np.where(kind == FULL, regimen.weight, regimen.weight * 0.6))
        full = kind[has] == FULL
        times = np.full(len(has), regimen.times_per_day, dtype=np.int64)
        stays.append(has)
        chosen.append(np.full(len(has), position, dtype=np.int64))
        starts.append(np.where(full, _first_round_after(admitted[has], times), admitted[has] + HOUR))
        nights = np.ceil((discharged - admitted)[has] / DAY) + 1
        lengths.append(np.where(full, nights, 1 / regimen.times_per_day))
    if not stays:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty, empty, np.zeros(0)
    return np.concatenate(stays), np.concatenate(chosen), np.concatenate(starts), np.concatenate(lengths)
