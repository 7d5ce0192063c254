"""French national identifier (NIR): 13 characters and a key of 2 digits.

Key (INSEE): ``97 - (n mod 97)`` of the 13-digit number; in Corsica ``2A`` counts as 19 and ``2B`` as 18.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl


def nir_key(body: str) -> str:
    """The two-digit key of a 13-character body.

    >>> nir_key("2550814168025")
    '38'
    >>> nir_key("1840200A000001")
    Traceback (most recent call last):
    ...
    ValueError: a NIR body has 13 characters
    """
    if len(body) != 13:
        raise ValueError("a NIR body has 13 characters")
    number = int(body[:5] + body[5:7].upper().replace("2A", "19").replace("2B", "18") + body[7:])
    return f"{97 - number % 97:02d}"


def nir_is_valid(nir: str) -> bool:
    """Whether a 15-character identifier carries its own key."""
    try:
        return len(nir) == 15 and nir_key(nir[:13]) == nir[13:]
    except ValueError:
        return False


def random_nirs(
    rng: np.random.Generator, female: npt.NDArray[np.bool_], years: npt.NDArray[Any], months: npt.NDArray[Any]
) -> pl.Series:
    """One valid NIR a person, unique within the call, for up to 900,000 people.

    Args:
        rng: source of the place of birth.
        female: sex of each person.
        years: four-digit year of birth.
        months: month of birth.
    """
    count = len(female)
    place = rng.random(count)
    department = rng.integers(1, 96, count)
    department = np.where(department == 20, 75, department)
    department = np.where(place < 0.09, 99, department)  # born abroad
    corsica = place > 0.985
    # commune and order number of birth: a bijection of the person's rank, so that no two people share them
    serial = (np.arange(count, dtype=np.int64) * 611_953 + int(rng.integers(0, 900_000))) % 900_001
    commune, order = serial // 999 + 1, serial % 999 + 1
    south = corsica & (rng.random(count) < 0.5) & (years >= 1976)
    north = corsica & ~south & (years >= 1976)
    department = np.where(corsica & (years < 1976), 20, department)
    counted = np.where(south, 19, np.where(north, 18, department))
    sex = np.where(female, 2, 1).astype(np.int64)
    tail = commune * 1000 + order
    number = sex * 10**12 + (years % 100) * 10**10 + months * 10**8 + counted * 10**6 + tail
    frame = pl.DataFrame(
        {
            "head": sex * 10_000 + (years % 100) * 100 + months,
            "department": np.where(south, -1, np.where(north, -2, department)),
            "tail": tail,
            "key": 97 - number % 97,
        }
    )
    department_text = (
        pl.when(pl.col("department") == -1)
        .then(pl.lit("2A"))
        .when(pl.col("department") == -2)
        .then(pl.lit("2B"))
        .otherwise(pl.col("department").cast(pl.String).str.zfill(2))
    )
    return frame.select(
        pl.concat_str(
            pl.col("head").cast(pl.String),
            department_text,
            pl.col("tail").cast(pl.String).str.zfill(6),
            pl.col("key").cast(pl.String).str.zfill(2),
        ).alias("national_id")
    ).to_series()
