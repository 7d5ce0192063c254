"""Plants the catalogue's traps into one delivery of a table, each record with one trap at most."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from estuaire.contract.registry import Dialect
from estuaire.simulator.changes import NEW, Mask
from estuaire.simulator.clock import DAY, HOUR, autumn_days, spring_days
from estuaire.simulator.plan import Window
from estuaire.simulator.text import DAMAGE, INVALID_BYTES, datetime_text
from estuaire.simulator.trap_catalogue import Trap, traps_of

Positions = npt.NDArray[np.int64]

_BAD_DATES = ["inconnu", "32/13/2020 25:61", "0000-00-00", "20210230"]
_DOSE_TEXTS = [">24h", "1 amp", "QSP", "2 x 500"]


def choose(
    table: str, frame: pl.DataFrame, window: Window, dialect: Dialect, rates: Mapping[str, float],
    drug_codes: pl.Series | None, rng: np.random.Generator,
) -> dict[str, Positions]:  # fmt: skip
    """Positions in ``frame`` for every trap of the table; disjoint, among new records only.

    Args:
        drug_codes: the records' local drug codes, which padding traps look at.
    """
    new = (frame["_kind"] == NEW).to_numpy()
    order = rng.permutation(len(frame))
    free = new.copy()
    chosen: dict[str, Positions] = {}
    # rare places first: the clock traps need records of a few days only
    for trap in sorted(traps_of(table), key=lambda t: "hour" not in t.name):
        wanted = int(rates.get(trap.name, 0.0) * new.sum())
        if wanted:
            eligible = free & _eligible(trap, frame, window, dialect, drug_codes)
            rows = order[eligible[order]][:wanted]
            free[rows] = False
            chosen[trap.name] = np.sort(rows)
    return {name: rows for name, rows in chosen.items() if len(rows)}


def _eligible(trap: Trap, frame: pl.DataFrame, window: Window, dialect: Dialect, drug_codes: pl.Series | None) -> Mask:
    kind = trap.name.split(".")[1]
    everything = np.ones(len(frame), bool)
    if kind in ("missing_spring_hour", "repeated_autumn_hour", "autumn_hour_with_offset"):
        zoned = "%z" in dialect.datetime_formats[0]
        if zoned != (kind == "autumn_hour_with_offset"):
            return ~everything
        find = spring_days if kind == "missing_spring_hour" else autumn_days
        given = frame["given_at"].to_numpy()
        midnight = given - given % DAY
        in_stay_before: Mask = frame["_admitted"].to_numpy() < midnight
        in_stay_before &= np.isin(midnight, find(window.start, window.end))
        return in_stay_before
    if kind == "invalid_byte":
        return everything & (dialect.encoding in INVALID_BYTES)
    if kind == "unpadded_ucd":
        if drug_codes is None:
            return ~everything
        padded: Mask = drug_codes.str.contains(r"^0[0-9]{12}$").fill_null(False).to_numpy()
        return padded
    if kind == "operator_reversed":
        reversible: Mask = (frame[trap.column] == "<=").fill_null(False).to_numpy()
        return reversible
    if kind == "dotted_code":
        longer: Mask = (frame[trap.column].str.len_chars() > 3).fill_null(False).to_numpy()
        return longer
    if kind == "label_mojibake":
        accented: Mask = frame[trap.column].str.contains("[ÉÈéèê]").fill_null(False).to_numpy()
        return accented
    if kind == "label_newline":
        spaced: Mask = frame[trap.column].str.contains(" ", literal=True).fill_null(False).to_numpy()
        return spaced
    if kind in ("operator_padded", "text_in_number", "dose_text", "unresolved_stay", "invalid_nir_key"):
        filled: Mask = frame[trap.column].is_not_null().to_numpy()
        return filled
    return everything


def spoil(
    text: pl.DataFrame, frame: pl.DataFrame, table: str, chosen: Mapping[str, Positions], dialect: Dialect,
    rng: np.random.Generator,
) -> pl.DataFrame:  # fmt: skip
    """``text`` with the traps in it; exact duplicates stand beside their originals.

    Args:
        frame: the same records, typed.
    """
    for trap in traps_of(table):
        rows = chosen.get(trap.name)
        if rows is None or trap.outcome == "superseded":
            continue
        column = text[trap.column].clone()
        kind = trap.name.split(".")[1]
        if "hour" in kind:
            spoiled = _in_troubled_hour(frame[trap.column].gather(rows), dialect, rng)
        else:
            spoiled = _spoiled(kind, column.gather(rows), dialect, rng)
        text = text.with_columns(column.scatter(rows, spoiled).alias(trap.column))
    doubled = chosen.get(f"{table}.exact_duplicate")
    if doubled is None:
        return text
    repeats = np.ones(len(text), dtype=np.int64)
    repeats[doubled] = 2
    return text[np.repeat(np.arange(len(text)), repeats).tolist()]


def _cycled(values: list[str], count: int) -> pl.Series:
    return pl.Series(values).gather(np.arange(count) % len(values))


def _in_troubled_hour(moments: pl.Series, dialect: Dialect, rng: np.random.Generator) -> pl.Series:
    """Times moved between 02:00 and 03:00 of their day; with an offset, the second time that the hour comes."""
    moved = moments - moments % DAY + 2 * HOUR + pl.Series(rng.integers(0, 60, len(moments)) * 60)
    return datetime_text(moved, dialect.datetime_formats[0]).str.replace("+02:00", "+01:00", literal=True)


def _spoiled(kind: str, values: pl.Series, dialect: Dialect, rng: np.random.Generator) -> pl.Series:
    """The planted text of each record."""
    count = len(values)
    match kind:
        case "bad_datetime" | "bad_date":
            return _cycled(_BAD_DATES, count)
        case "dose_text" | "text_in_number":
            return _cycled(_DOSE_TEXTS, count)
        case "missing_required":
            return pl.Series([None] * count, dtype=pl.String)
        case "unresolved_stay":
            return "99" + values.str.slice(2)
        case "unmapped_drug":
            return pl.Series([f"LOCAL{n:03d}" for n in rng.integers(1, 13, count)])
        case "unpadded_ucd":
            return values.str.strip_chars_start("0")
        case "stray_quote" | "invalid_byte" | "nul_byte":
            return DAMAGE[kind] + values
        case "label_separator":
            return values.str.replace(" ", f"{dialect.delimiter} ", literal=True)
        case "label_accents":
            return values + " (à reconstituer, conservé réfrigéré)"
        case "label_quote":
            return values + ' dit "DCI"'
        case "label_newline":
            return values.str.replace(" ", "\n", literal=True)
        case "operator_padded":
            return values + "        "
        case "operator_reversed":
            return pl.Series(["=<"]).new_from_index(0, count)
        case "category_with_value":
            return "< 0.5 " + values
        case "dotted_code":
            return values.str.slice(0, 3) + "." + values.str.slice(3)
        case "label_mojibake":
            return values.str.replace_all("[ÉÈéèê]", "¿")
        case "invalid_nir_key":
            key = values.str.slice(13).cast(pl.Int64) % 97 + 1
            return values.str.slice(0, 13) + key.cast(pl.String).str.zfill(2)
    raise ValueError(f"no way to plant {kind}")
