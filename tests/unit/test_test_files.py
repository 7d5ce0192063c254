"""What holds for the tests' own files: none asks a stopwatch, equal names of test files are no matter, names of helper modules are."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from estuaire.base.settings import PROJECT_ROOT

TESTS = PROJECT_ROOT / "tests"
FILES = sorted(p for p in TESTS.rglob("*.py") if "benchmarks" not in p.parts)
OPTIONS = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
_CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time"}


def _is_test(path: Path) -> bool:
    return path.name.startswith("test_") or path.name == "conftest.py"


def timed_asserts(source: str) -> list[int]:
    """Lines on which a test asserts what a clock says. One that waits for something asks it in a loop: that may be."""
    tree = ast.parse(source)
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.While)]
    waits = {node.lineno for loop in loops for node in ast.walk(loop) if isinstance(node, ast.Assert)}
    read = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp) and _asks_a_clock(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
        and node.lineno not in waits
        and (_asks_a_clock(node.test) or any(isinstance(n, ast.Name) and n.id in read for n in ast.walk(node.test)))
    ]


def _asks_a_clock(node: ast.AST) -> bool:
    return any(isinstance(n, ast.Attribute) and n.attr in _CLOCKS for n in ast.walk(node))


# ------------------------------------------------------------------------------------------------ clocks


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(TESTS)))
def test_no_test_depends_on_how_fast_the_machine_is(path: Path) -> None:
    """How long something takes is a benchmark's matter (tests/benchmarks): a busy machine breaks no promise of the platform."""
    assert timed_asserts(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "planted",
    [
        "assert time.monotonic() - began < 5",
        "took = time.perf_counter() - began\nassert took < 5",
        "def test():\n    seconds = time.process_time() - began\n    if x:\n        assert 1 < seconds < 5",
    ],
)
def test_a_planted_stopwatch_is_found(planted: str) -> None:
    assert timed_asserts(planted)


def test_waiting_for_something_is_no_stopwatch() -> None:
    assert not timed_asserts(
        "limit = time.monotonic() + 60\nwhile not done():\n    assert time.monotonic() < limit, 'late'\n"
    )


# ------------------------------------------------------------------------------------------------ names


def test_two_test_files_of_one_name_are_both_collected(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "test_same.py").write_text(f"def test_{folder}(): pass\n", encoding="utf-8")
    (tmp_path / "pytest.ini").write_text(f"[pytest]\naddopts = {OPTIONS['addopts']}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only", str(tmp_path)],
        capture_output=True, text=True, check=False, env={k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert {"one/test_same.py::test_one", "other/test_same.py::test_other"} <= set(done.stdout.split())


def test_a_helpers_bare_name_means_one_module() -> None:
    helpers = [p for p in FILES if not _is_test(p) and p.name != "__init__.py"]
    assert len(helpers) > 20
    twice = [name for name, n in Counter(p.stem for p in helpers).items() if n > 1]
    assert twice == [], "two folders have a helper of that name: an import would find either; rename one"
    folders = {p.parent.relative_to(PROJECT_ROOT).as_posix() for p in helpers}
    assert folders <= set(OPTIONS["pythonpath"]), "add the folder to pythonpath in pyproject.toml"
    for path in helpers:
        spec = importlib.util.find_spec(path.stem)
        assert spec is not None
        assert Path(str(spec.origin)) == path, "an installed package has that name: rename the helper"


def test_no_test_imports_another_test_file() -> None:
    """It would run there under a second name; what two tests share stands in a helper module."""
    found = [
        f"{path.relative_to(TESTS)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.split(".")[-1].startswith("test_")
    ]
    assert found == []


def test_the_files_that_are_begun_first_are_there() -> None:
    tree = ast.parse((TESTS / "conftest.py").read_text(encoding="utf-8"))
    [names] = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "LONGEST"
    ]
    assert [name for name in names if not (TESTS / name).is_file()] == []
