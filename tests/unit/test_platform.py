"""The platform: built where a process's work begins, handed down, and the only place that opens what the settings name."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from estuaire.base.settings import PROJECT_ROOT, Settings
from estuaire.storage.lake import Lake
from estuaire.storage.object_store import DirectoryStore
from estuaire.storage.platform import Platform

CODE = ("estuaire", "spark_jobs", "dags")
# who begins a process's work
ENTRIES = (
    "dags/", "estuaire/cli/", "estuaire/operations/metrics/__main__.py", "estuaire/orchestration/arrivals.py",
    "estuaire/orchestration/operators.py", "estuaire/warehouse/dbt_by_hand.py", "spark_jobs/submit.py",
)  # fmt: skip
# who makes the servers and databases, or puts them back: there may be no platform yet
MAKERS = ("estuaire/stack/", "estuaire/operations/backup/dumps.py", "estuaire/operations/backup/restoring.py")
HOSPITALS = ("estuaire/simulator/",)  # of the hospitals' package, which has no driver of PostgreSQL
OWN = ("estuaire/storage/platform.py", "estuaire/storage/stores.py")


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for top in CODE:
        for path in sorted((PROJECT_ROOT / top).rglob("*.py")):
            yield path.relative_to(PROJECT_ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def _opens(call: ast.Call) -> bool:
    """Whether a call makes a part, or all, of the platform from settings."""
    name = ast.unparse(call.func)
    return name in ("Platform", "Database.of", "open_store", "S3Store") or (
        name == "load_registry" and any("registry_dir" in ast.unparse(given) for given in call.args)
    )


def _reads_settings(call: ast.Call) -> bool:
    return ast.unparse(call.func) in ("Settings", "settings", "base.settings.settings")


def _calls(tree: ast.AST, wanted: Callable[[ast.Call], bool]) -> bool:
    return any(isinstance(node, ast.Call) and wanted(node) for node in ast.walk(tree))


def _at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """What runs when the module is imported: all but the insides of functions and what stands below a main guard."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += [] if isinstance(node, ast.Lambda) else node.decorator_list
            waiting += [*node.args.defaults, *(one for one in node.args.kw_defaults if one)]
            continue
        yield node
        waiting += ast.iter_child_nodes(node)


def test_only_where_work_begins_is_a_platform_or_a_part_of_it_made_of_settings() -> None:
    found = {path for path, tree in _modules() if _calls(tree, _opens)}
    assert {path for path in found if not path.startswith((*ENTRIES, *MAKERS, *HOSPITALS, *OWN))} == set()
    for place in (*ENTRIES, *MAKERS, *HOSPITALS, *OWN):  # the lists name nobody who makes none
        assert any(path.startswith(place) for path in found), place


def test_no_module_reads_settings_when_it_is_imported() -> None:
    """But for the DAG files: their schedules are settings."""
    reading = {
        path
        for path, tree in _modules()
        if any(isinstance(node, ast.Call) and _reads_settings(node) for node in _at_import(tree))
    }
    assert {path for path in reading if not path.startswith("dags/")} == set()
    assert reading  # the test sees those


def test_what_runs_at_import_is_told_from_what_does_not() -> None:
    text = "a = f(Settings())\n@g(settings())\ndef h(x=Settings()):\n    Settings()\nb = lambda: Settings()\nclass C:\n    d = Settings()\n"
    calls = [n for n in _at_import(ast.parse(text)) if isinstance(n, ast.Call) and _reads_settings(n)]
    assert sorted(n.lineno for n in calls) == [1, 2, 3, 7]


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Platform(Settings(_env_file=None, home=tmp_path, postgres_database="own"))


def test_its_parts_are_what_the_settings_name(platform: Platform, tmp_path: Path) -> None:
    assert "dbname=own user=analyst" in platform.database.dsn("analyst")
    assert isinstance(platform.store, DirectoryStore)
    assert platform.store.root == tmp_path / "store"
    assert "h01" in platform.registry.hospitals
    assert isinstance(platform.lake, Lake)


def test_it_goes_to_a_spark_task_and_names_the_same_there(platform: Platform) -> None:
    asked = platform.database.dsn()
    there = pickle.loads(pickle.dumps(platform))  # noqa: S301
    assert there == platform
    assert there.database.dsn() == asked


def test_it_makes_nothing_on_disk(platform: Platform, tmp_path: Path) -> None:
    assert platform.lake.store.url("lake")
    assert list(tmp_path.iterdir()) == []
