"""Standard codes back to a hospital's own: the registry's code maps, inverted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from estuaire.contract.registry import Hospital, read_code_map

ALTERNATIVE_SHARE = 0.15


def inverted_maps(hospital: Hospital) -> dict[str, dict[str, list[str]]]:
    """Code system -> standard code -> local codes, in the map's order. A system that is not there is delivered as standard."""
    result: dict[str, dict[str, list[str]]] = {}
    for system, path in hospital.code_maps.items():
        by_standard: dict[str, list[str]] = {}
        for local, standard in read_code_map(path).items():
            by_standard.setdefault(standard, []).append(local)
        result[system] = by_standard
    return result


def to_local(
    codes: pl.Series, inverted: Mapping[str, list[str]] | None, rng: np.random.Generator, *, unmapped: bool = False,
    alternatives: bool = True,
) -> pl.Series:  # fmt: skip
    """Local codes of standard ones; where a standard code has several, some records take the second.

    Args:
        alternatives: false for a part of a business key, which is written in one way.
        unmapped: a standard code that the map does not reach becomes a local code that nobody has mapped, as most of a laboratory's are.

    Raises:
        polars.exceptions.InvalidOperationError: a standard code that the hospital cannot express.
    """
    if inverted is None:
        return codes
    first = {k: v[0] for k, v in inverted.items()}
    if unmapped:
        first = {c: f"NM{c.replace('-', '')}" for c in codes.drop_nulls().unique().to_list()} | first
    usual = codes.replace_strict(first, return_dtype=pl.String)
    several = {k: v[1] for k, v in inverted.items() if len(v) > 1}
    if not several or not alternatives:
        return usual
    other = codes.replace_strict(several, default=None, return_dtype=pl.String)
    take = pl.Series(rng.random(len(codes)) < ALTERNATIVE_SHARE) & other.is_not_null()
    return other.zip_with(take, usual)
