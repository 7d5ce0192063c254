"""NIR: 13 characters and the key 97 - (n mod 97); Corsica counts 2A as 19 and 2B as 18."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estuaire.simulator.national_id import nir_is_valid, nir_key, random_nirs


def test_key_of_the_published_example() -> None:
    assert nir_key("2550814168025") == "38"


@pytest.mark.parametrize(("body", "letter", "less"), [("184022A001001", "A", 10**6), ("184022B001001", "B", 2 * 10**6)])
def test_corsica_by_the_other_published_rule(body: str, letter: str, less: int) -> None:
    """The letter read as 0, then one or two million less: the same number as 2A = 19, 2B = 18."""
    assert int(nir_key(body)) == 97 - (int(body.replace(letter, "0")) - less) % 97


@given(st.integers(min_value=10**12, max_value=2 * 10**12 - 1), st.integers(min_value=1, max_value=96))
def test_only_its_own_key_is_valid(number: int, shift: int) -> None:
    key = int(nir_key(str(number)))
    other = (key - 1 + shift) % 97 + 1
    assert 1 <= key <= 97
    assert (number + key) % 97 == 0
    assert nir_is_valid(f"{number}{key:02d}")
    assert not nir_is_valid(f"{number}{other:02d}")


@pytest.mark.parametrize("nir", ["", "25508141680253", "x55081416802538"])
def test_what_is_no_nir_is_invalid(nir: str) -> None:
    assert not nir_is_valid(nir)


def test_drawn_identifiers_are_valid_distinct_and_say_sex_and_birth() -> None:
    rng = np.random.default_rng(3)
    female, years, months = rng.random(20_000) < 0.5, rng.integers(1925, 2025, 20_000), rng.integers(1, 13, 20_000)
    drawn = random_nirs(rng, female, years, months)
    assert drawn.n_unique() == len(drawn)
    assert all(nir_is_valid(n) for n in drawn)
    assert {n[5:7] for n in drawn} >= {"2A", "2B", "99", "75"}
    for nir, woman, year, month in zip(drawn, female, years, months, strict=True):
        assert (nir[0], nir[1:3], nir[3:5]) == ("2" if woman else "1", f"{year % 100:02d}", f"{month:02d}")
        assert year >= 1976 or nir[5:7] not in ("2A", "2B")
