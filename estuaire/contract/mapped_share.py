"""Mapped shares: of each coded column, how many of a hospital's records must bear a code that someone has mapped (docs/domain/codes.md).

A record with an unmapped code is silently out of every figure that asks for the code: a hospital without a map of categories, purposes or
statuses would publish empty tables. So every coded column has a rule at gate 2, whether somebody thought of one or not; a column that a
mart reads blocks its hospital. ``expectations/consolidated`` may say otherwise of one column, under the same id.
"""

from __future__ import annotations

from functools import lru_cache

from estuaire.base import yaml_text
from estuaire.base.sql import literal
from estuaire.contract.tables import FOLDER, Column, Table

MARTS_FILE = FOLDER / "codes_of_marts.yml"
# without one of these a result is no result; a code of the others leaves a stratum
STRICT_SYSTEMS = frozenset({"organism", "drug", "antimicrobial_agent", "susceptibility_category"})
STRICT, OTHER = 0.01, 0.05  # unmapped share above which a hospital is blocked
# one-sided: an exact lower bound of the share below the limit says that chance alone may have brought so many unmapped codes
CONFIDENCE = 0.95
# a laboratory may write "< 0.5 S" where the category stands; the model conformed.susceptibility reads it, with this form at the least
IN_TEXT = {
    "susceptibility.category": r"\s*(<=|>=|=<|=>|<|>|=)?\s*[0-9]+([.,][0-9]+)?\s*(SFP|S|I|R)\s*"  # in any case of letters
}


@lru_cache(maxsize=1)
def marts_of_codes() -> dict[str, tuple[str, ...]]:
    """<table>.<column> -> published tables that read it; a coded column of the contract that is not in the file counts as read."""
    raw = yaml_text.read(MARTS_FILE.read_text(encoding="utf-8"))
    return {place: tuple(marts) for place, marts in raw.items()}


def in_text_flag(table: str, column: str) -> str | None:
    """The flag of a record whose code is read from a longer text, so that it is not unmapped; None where a column has no such text."""
    return f"{table}.{column}.in_text" if f"{table}.{column}" in IN_TEXT else None


def expression(table: str, column: str) -> str:
    """A rule's expression: the record's code is mapped."""
    flag = in_text_flag(table, column)
    mapped = f"{column} is not null"
    return f"{mapped} or coalesce(strpos(flags, {literal(flag)}), 0) > 0" if flag else mapped


def limit(column: Column) -> float:
    """Share of unmapped records above which a column that a mart reads blocks."""
    return STRICT if column.code_system in STRICT_SYSTEMS else OTHER


def is_read(table: Table, column: Column) -> bool:
    """Whether a mart reads the column."""
    return marts_of_codes().get(f"{table.name}.{column.name}") != ()
