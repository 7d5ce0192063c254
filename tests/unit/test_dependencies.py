"""What a result depends on is in its hash: each dependency changed is a rebuild, and nothing changed is none."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import duckdb
import pytest

from estuaire.base.settings import PROJECT_ROOT
from estuaire.contract import codes
from estuaire.contract.layer_columns import consolidated_columns, landed_columns
from estuaire.contract.registry import OnePerson, load_registry
from estuaire.contract.tables import load_contract
from estuaire.kernel import antibacterials
from estuaire.kernel import consolidate as kernel
from estuaire.storage.duck import of_files


def _hash() -> str:
    return kernel.depends_on(load_registry().get("h01"))


def test_nothing_changed_is_no_rebuild_not_even_in_another_process() -> None:
    asked = "from estuaire.kernel.consolidate import depends_on; from estuaire.contract.registry import load_registry; print(depends_on(load_registry().get('h01')))"
    other = subprocess.run([sys.executable, "-c", asked], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == _hash() == _hash()


def test_a_new_organism_code_rebuilds(monkeypatch: pytest.MonkeyPatch) -> None:
    before = _hash()
    known = codes.code_systems()
    organism = known["organism"]
    more = {**known, "organism": replace(organism, values=(*organism.values, "B_NEW"))}
    monkeypatch.setattr(kernel, "code_systems", lambda: more)
    assert _hash() != before


def test_a_new_name_of_an_antibacterial_rebuilds(monkeypatch: pytest.MonkeyPatch) -> None:
    before = _hash()
    monkeypatch.setattr(antibacterials, "_names", lambda: {"novamycin": frozenset({("novamycin",)})})
    assert _hash() != before


@pytest.mark.parametrize("column", ["timezone", "calendar", "one_person"])
def test_another_calendar_or_limit_of_the_hospital_rebuilds(column: str) -> None:
    hospital: Any = load_registry().get("h01")
    changed = {"timezone": "Indian/Reunion", "calendar": "shifted", "one_person": OnePerson(birth_years=5)}
    other = replace(hospital, **{column: changed[column]})
    assert kernel.depends_on(other) != kernel.depends_on(hospital)


def test_the_code_counts_and_its_comments_do_not() -> None:
    source = 'def f(x):\n    """Doc."""\n    return x + 1  # one\n'
    assert kernel.code_of(source) == kernel.code_of('def f( x ):\n    """Other."""\n\n    return x + 1\n')
    assert kernel.code_of(source) != kernel.code_of(source.replace("+ 1", "+ 2"))


@pytest.mark.parametrize("column", ["latest_at", "flags"])
def test_files_written_before_a_column_was_added_are_read_with_those_after(tmp_path: Any, column: str) -> None:
    """In either order; where no file has the column, it is null."""
    columns = landed_columns(load_contract().table("unit"))
    listed = ", ".join(
        f"'{c.name}'::varchar::{c.duckdb} as {c.name}" if c.duckdb == "VARCHAR" else f"null::{c.duckdb} as {c.name}"
        for c in columns
    )
    old, new = str(tmp_path / "a_old.parquet"), str(tmp_path / "b_new.parquet")
    with duckdb.connect() as connection:
        connection.execute(f"copy (select {listed}) to '{new}' (format parquet)")
        connection.execute(f"copy (select * exclude ({column}) from '{new}') to '{old}' (format parquet)")
        for paths, rows in (([old, new], 2), ([new, old], 2), ([old], 1)):
            found = connection.execute(
                f"select {', '.join(c.name for c in columns)} from ({of_files(connection, paths, columns)})"
            )
            assert len(found.fetchall()) == rows
    assert consolidated_columns(load_contract().table("unit"))
