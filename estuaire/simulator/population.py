"""People, before any hospital sees them: birth, sex, national identifier, home hospital. Grain: one row a person."""

from __future__ import annotations

from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from estuaire.simulator.clock import DAY, as_datetime, seconds
from estuaire.simulator.national_id import random_nirs
from estuaire.simulator.plan import SimulationPlan
from estuaire.simulator.randomness import generator

TWIN_PAIRS_PER_PERSON = 0.004
NO_NATIONAL_ID = 0.03
UPSTREAM_SHARE = 0.3
UPSTREAM_AUTHORITY = "PLATEFORME-REGIONALE-DEMO"


def hospital_weights(plan: SimulationPlan) -> npt.NDArray[np.float64]:
    """Share of people whose home each hospital is; the largest is at most about four times the smallest."""
    sizes = np.array([generator(plan.seed, h, "size").lognormal(0.0, 0.35) for h in plan.hospitals])
    sizes = np.clip(sizes, 0.5, 2.0)
    shares: npt.NDArray[np.float64] = sizes / sizes.sum()
    return shares


def people(plan: SimulationPlan) -> pl.DataFrame:
    """Every person of the plan's world.

    Columns: person, sex, birth_date, national_id, twin_rank, upstream_pseudonym, pseudonym_authority, postcode, home and
    second (positions in ``plan.hospitals``; second is -1 for people known in one hospital).
    """
    rng = generator(plan.seed, "people")
    count = plan.patients
    female = rng.random(count) < 0.52
    age = np.where(rng.random(count) < 0.11, rng.uniform(0, 18, count), np.clip(rng.normal(60, 19, count), 18, 99))
    born_s = seconds(plan.start) - ((age * 365.25).astype(np.int64) + 1) * DAY
    home = rng.choice(len(plan.hospitals), size=count, p=hospital_weights(plan))
    home[: len(plan.hospitals)] = np.arange(len(plan.hospitals))  # no hospital stays empty
    second = np.full(count, -1)
    if len(plan.hospitals) > 1:
        shared = rng.random(count) < plan.shared_share
        step = rng.integers(1, len(plan.hospitals), count)
        second = np.where(shared, (home + step) % len(plan.hospitals), -1)

    # twins: the second of a pair takes the birth, sex, identifier and home of the first
    pairs = int(count * TWIN_PAIRS_PER_PERSON)
    first = len(plan.hospitals) + 2 * np.arange(pairs)
    first = first[first + 1 < count]
    twin_rank = np.zeros(count, dtype=np.int64)
    twin_rank[first], twin_rank[first + 1] = 1, 2
    source = np.arange(count)
    source[first + 1] = first
    female, born_s, home = female[source], born_s[source], home[source]
    second = np.where(second == home, -1, second)

    born = as_datetime(born_s).astype("datetime64[D]")
    months = born.astype("datetime64[M]").astype(np.int64)
    national_id = random_nirs(rng, female, months // 12 + 1970, months % 12 + 1).gather(source)
    without = rng.random(count) < NO_NATIONAL_ID
    without[first + 1] = without[first]
    upstream = without & (rng.random(count) < UPSTREAM_SHARE)
    tokens = rng.integers(0, 2**63 - 1, count, dtype=np.int64)
    postcode = pl.Series(rng.integers(1, 96, count) * 1000 + rng.integers(0, 100, count) * 10)
    return pl.DataFrame(
        {
            "person": np.arange(count),
            "sex": np.where(female, "female", "male"),
            "birth_date": born,
            "national_id": national_id,
            "twin_rank": twin_rank,
            "token": tokens,
            "postcode": postcode.cast(pl.String).str.zfill(5),
            "home": home,
            "second": second,
            "without": without,
            "upstream": upstream,
        }
    ).select(
        "person",
        "sex",
        "birth_date",
        pl.when(~pl.col("without")).then("national_id").alias("national_id"),
        pl.when(pl.col("twin_rank") > 0).then("twin_rank").alias("twin_rank"),
        pl.when("upstream")
        .then(pl.format("UP{}", pl.col("token").cast(pl.String).str.zfill(19)))
        .alias("upstream_pseudonym"),
        pl.when("upstream").then(pl.lit(UPSTREAM_AUTHORITY)).alias("pseudonym_authority"),
        "postcode",
        "home",
        "second",
    )


def month_weights(first: date, last: date) -> npt.NDArray[np.float64]:
    """Relative admissions of each day in [first, last): winters busier, August quieter, week-ends quieter."""
    days = np.arange(seconds(first) // DAY, seconds(last) // DAY)
    month = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12
    by_month = np.array([1.10, 1.08, 1.06, 1.00, 0.97, 0.99, 0.96, 0.84, 0.98, 1.01, 1.01, 1.05])
    weekday = (days + 3) % 7  # 1970-01-01 was a Thursday; 0 is Monday
    by_weekday = np.array([1.15, 1.12, 1.10, 1.08, 1.05, 0.75, 0.75])
    weights: npt.NDArray[np.float64] = by_month[month] * by_weekday[weekday]
    return weights
