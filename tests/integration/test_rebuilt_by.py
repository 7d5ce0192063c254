"""What a load and a release depend on is in their hash: each dependency changed, one after the other, is a rebuild; nothing changed is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from calm_stages import Pair, pair, without_engines

from estuaire.storage.platform import Platform
from estuaire.warehouse import publish, staging_content
from spark_jobs import load

__all__ = ["pair", "without_engines"]


@pytest.fixture(scope="module")
def loaded(pair: Pair) -> Any:
    """Two hospitals, loaded."""
    pair.deliver()
    for stage in ("land", "consolidate", "load"):
        pair.run(stage)
    return pair.tried


def _loads(platform: Any) -> list[str]:
    """Hospitals that a load now takes."""
    found: list[str] = load.run(platform, platform.new_run(), None)["hospitals"]
    return found


# ------------------------------------------------------------------------------------------------ a load


def test_nothing_changed_loads_nothing(loaded: Any) -> None:
    assert _loads(loaded) == []


def test_other_consolidated_content_loads_its_hospital(loaded: Any) -> None:
    loaded.execute("update control.consolidation set content_hash = 'other' where hospital_id = 'h02'")
    assert _loads(loaded) == ["h02"]
    assert _loads(loaded) == []


def test_another_list_of_antibacterials_loads_all_and_changes_what_is_held(
    loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    doses = "select count(*) from staging.administration"
    assert loaded.ask(doses) == [(4,)]
    fewer = tuple(c for c in staging_content.antibacterial_codes() if c != "J01DD04")
    with monkeypatch.context() as patch:
        patch.setattr(staging_content, "antibacterial_codes", lambda: fewer)
        assert _loads(loaded) == ["h01", "h02"]
        assert loaded.ask(doses) == [(0,)]
        assert _loads(loaded) == []
    assert _loads(loaded) == ["h01", "h02"]
    assert loaded.ask(doses) == [(4,)]


@pytest.mark.parametrize("what", ["name", "postgres"])
def test_other_columns_load_all(loaded: Any, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    columns = staging_content.staging_columns

    def others(table: Any) -> list[Any]:
        *rest, last = columns(table)
        return [*rest, replace(last, **{what: f"{getattr(last, what)}_2"})] if table.name == "unit" else [*rest, last]

    monkeypatch.setattr(staging_content, "staging_columns", others)
    assert sorted(staging_content.pending(loaded)) == ["h01", "h02"]


@pytest.mark.parametrize(
    "other", [{"combination_doses": "product"}, {"combination_doses_by_drug": {"J01CR02": "product"}}], ids=str
)
def test_another_basis_of_combinations_loads_the_hospital(
    loaded: Any, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    registry = loaded.registry
    hospitals = {**registry.hospitals, "h02": replace(registry.hospitals["h02"], **other)}
    with monkeypatch.context() as patch:
        patch.setattr(Platform, "registry", replace(registry, hospitals=hospitals))
        assert _loads(loaded) == ["h02"]
        assert _loads(loaded) == []
    assert _loads(loaded) == ["h02"]


# ------------------------------------------------------------------------------------------------ a release


class Rebuilt(Exception):
    """The build of a release began."""


@pytest.fixture(scope="module")
def released(loaded: Any) -> Iterator[Any]:
    """A served release of what is loaded; whatever would build another says so instead."""

    def began(*_: Any, **__: Any) -> None:
        raise Rebuilt

    code = publish.dbt_build.project_hash(publish.dbt_build.PROJECT)
    with publish.releases.connect(loaded.database) as session, session.cursor() as cur:
        inputs = publish.input_hash(cur, code)
        session.rollback()
    loaded.execute(
        "insert into control.release (release_id, run_id, snapshot_id, code_version, built_at, state, input_hash) "
        "overriding system value values (1, %s, 1, 'tests', now(), 'published', %s)", loaded.new_run(), inputs,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "_build", began)
        patch.setattr(publish, "warm_up", lambda: None)
        yield loaded


def _publishes(platform: Platform, project: Path = publish.dbt_build.PROJECT) -> bool:
    """Whether a publication now builds a release."""
    try:
        return publish.build_and_publish(platform, "run-x", 1, "tests", project=project).state != "unchanged"
    except Rebuilt:
        return True


# what is changed -> (how, how it is undone)
DEPENDENCIES = {
    "loaded content": (
        "update control.load set content_hash = content_hash || '-2' where hospital_id = 'h01'",
        "update control.load set content_hash = left(content_hash, -2) where hospital_id = 'h01'",
    ),
    "the registry's rows": (
        "update staging.hospital set study_member = not study_member where hospital_id = 'h01'",
        "update staging.hospital set study_member = not study_member where hospital_id = 'h01'",
    ),
    "a hospital that left": (
        "create table public.kept as select * from control.load where hospital_id = 'h02'; delete from control.load where hospital_id = 'h02'",
        "insert into control.load select * from public.kept; drop table public.kept",
    ),
    "the patient map": (
        "insert into staging.patient_map select 'h99', 'p', (m).* from (select 1) x, lateral (select 'k' as a, 'm' as b) m",
        "delete from staging.patient_map where hospital_id = 'h99'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", DEPENDENCIES)
def test_each_dependency_of_a_release_builds_another(released: Any, change: str) -> None:
    assert not _publishes(released)
    how, undone = DEPENDENCIES[change]
    released.execute(how)
    try:
        assert _publishes(released)
    finally:
        released.execute(undone)
    assert not _publishes(released)


@pytest.mark.parametrize(
    "file", ["models/marts/cumulative_antibiogram.sql", "macros/statistics/proportion_intervals.sql"]
)
def test_another_model_or_statistics_function_builds_another_release(released: Any, file: str, tmp_path: Path) -> None:
    """A corrected interval must be published."""
    project = tmp_path / "dbt_project"
    shutil.copytree(publish.dbt_build.PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    assert not _publishes(released, project)
    with (project / file).open("a", encoding="utf-8") as changed:
        changed.write("-- another way of computing it\n")
    assert _publishes(released, project)
