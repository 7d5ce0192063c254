"""An error in a table: the seven columns that ``control.delivery``, ``run``, ``stage_run``, ``consolidation_block``, ``set_aside`` and
``quality.verdict`` share. All are null where there is no error; a row of an older version may lack some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from estuaire.base.errors import ErrorFields

NAMES = (
    "error_code", "error_hospital", "error_delivery", "error_table", "error_file", "error_what", "error_remedy",
)  # fmt: skip
COLUMNS = ", ".join(NAMES)
MARKS = ", ".join(["%s"] * len(NAMES))
SET = ", ".join(f"{name} = %s" for name in NAMES)
SET_NULL = ", ".join(f"{name} = null" for name in NAMES)
SET_EXCLUDED = ", ".join(f"{name} = excluded.{name}" for name in NAMES)


def of(table: str) -> str:
    """The columns, of a table's alias."""
    return ", ".join(f"{table}.{name}" for name in NAMES)


def values(error: ErrorFields | None) -> tuple[str | None, ...]:
    """What stands in the columns, in their order."""
    if error is None:
        return (None,) * len(NAMES)
    return (
        error.code or None, error.hospital, error.delivery, error.table, error.file, error.what, error.remedy or None,
    )  # fmt: skip


def read(row: Mapping[str, Any]) -> ErrorFields | None:
    """The error of a row; None where it has none."""
    code, hospital, delivery, table, file, what, remedy = (row[name] for name in NAMES)
    if code is None and what is None:
        return None
    return ErrorFields(code or "", what or "", remedy or "", hospital, delivery, table, file)


def said(row: Mapping[str, Any], text: str = "message") -> str:
    """What a row of a run or of a stage's attempt says, for people: its note, then its error's sentence; empty where it says nothing."""
    error = read(row)
    return ": ".join(part for part in (row[text], "" if error is None else error.sentence()) if part)


def reasons(row: Mapping[str, Any]) -> str:
    """Why a verdict is what it is, for people: what the rules counted; else the sentence of the error that kept them from counting."""
    error = read(row)
    return str(row["reasons"]) or (error.sentence() if error else "")
