"""The rooms of estuaire/: the contracts of pyproject.toml catch an arrow that points up, and docs/architecture.md draws what they hold."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from estuaire.base.settings import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "architecture.md"
CONTRACTS = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
    "contracts"
]
[ROOMS] = [contract["layers"] for contract in CONTRACTS if contract["id"] == "rooms"]
NAMES = {contract["id"]: contract["name"] for contract in CONTRACTS}


@dataclass(frozen=True)
class Plant:
    """An import that must not be, at the end of a module (or a module of its own), and the contract that it breaks."""

    where: str
    text: str
    broken: str


PLANTS = {
    "up": Plant("estuaire/base/settings.py", "from estuaire.storage import ledger\n", "rooms"),
    "up by one room": Plant("estuaire/orchestration/tasks.py", "from estuaire.stack import jdk\n", "rooms"),
    "up, inside a function": Plant(
        "estuaire/kernel/limits.py", "def later():\n    from estuaire.gates import results\n", "rooms"
    ),
    "up, for a type": Plant(
        "estuaire/storage/ledger.py",
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import estuaire.warehouse.releases\n",
        "rooms",
    ),
    "a room that stands nowhere": Plant("estuaire/attic/__init__.py", "", "rooms"),
    "a module in no room": Plant("estuaire/flat.py", "", "rooms"),
    "the library uses a job": Plant("estuaire/orchestration/tasks.py", "import spark_jobs.load\n", "library"),
    "the library uses a DAG": Plant("estuaire/cli/tables.py", "import dags.upkeep\n", "library"),
    "the library uses a test": Plant("estuaire/cli/tables.py", "from tests import published\n", "library"),
    "a circle in a room": Plant("estuaire/stack/jdk.py", "from estuaire.stack import lifecycle\n", "circles"),
    "a circle of the jobs": Plant("spark_jobs/damaged_files.py", "from spark_jobs import land\n", "circles"),
    "a database in the kernel": Plant("estuaire/kernel/engine.py", "import psycopg2\n", "kernel"),
    "a database in a hand-in": Plant(
        "estuaire/deliveries/hand_in.py", "from estuaire.deliveries import landing_scan\n", "hospital"
    ),
    "a database behind the kernel": Plant(
        "estuaire/storage/duck.py", "from estuaire.storage import ledger\n", "kernel"
    ),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules and the contracts, elsewhere."""
    folder = tmp_path_factory.mktemp("rooms")
    for package in ("estuaire", "spark_jobs"):
        for path in (PROJECT_ROOT / package).rglob("*.py"):
            target = folder / path.relative_to(PROJECT_ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    shutil.copyfile(PROJECT_ROOT / "pyproject.toml", folder / "pyproject.toml")
    return folder


def broken(folder: Path) -> set[str]:
    """Contracts that the modules of a folder break, as `make check` sees it."""
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([linter, "--no-cache", "--no-logo"], cwd=folder, capture_output=True, text=True, check=False)
    said = re.sub(r"\s+", " ", done.stdout)
    found = {name for name in NAMES if f"{NAMES[name]} BROKEN" in said}
    assert len(found) + sum(f"{name} KEPT" in said for name in NAMES.values()) == len(NAMES), done.stdout + done.stderr
    assert (done.returncode == 0) == (not found)
    return found


@pytest.fixture
def planted(copy: Path, request: pytest.FixtureRequest) -> Iterator[Plant]:
    plant = PLANTS[request.param]
    path = copy / plant.where
    before = path.read_text(encoding="utf-8") if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{before or ''}\n{plant.text}", encoding="utf-8")
    yield plant
    if before is not None:
        path.write_text(before, encoding="utf-8")
        return
    path.unlink()
    if path.name == "__init__.py":
        path.parent.rmdir()


def test_the_modules_keep_every_contract(copy: Path) -> None:
    assert broken(copy) == set()


@pytest.mark.thorough
@pytest.mark.parametrize("planted", PLANTS, indirect=True)
def test_a_planted_import_is_caught(copy: Path, planted: Plant) -> None:
    assert planted.broken in broken(copy)


def _drawn() -> list[str]:
    """The rooms of the page's drawing, from the top."""
    [drawing] = re.findall(r"```mermaid\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    arrows = re.findall(r"^ *(\w+) --> (\w+)$", drawing, re.MULTILINE)
    assert len(arrows) > 5
    assert [below for _, below in arrows[:-1]] == [above for above, _ in arrows[1:]], (
        "one line of arrows, each from where the last one ends"
    )
    return [arrows[0][0], *(below for _, below in arrows)]


def test_the_drawing_shows_the_rooms_in_their_order() -> None:
    assert _drawn() == ROOMS


def test_the_page_says_what_each_room_holds() -> None:
    told = re.findall(r"^\| `(\w+)/` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert told == ROOMS


def test_every_file_that_the_page_names_is_there() -> None:
    named = set(
        re.findall(
            r"`((?:estuaire|spark_jobs|dbt_project|expectations|infra|tests)/[\w./-]*)`",
            PAGE.read_text(encoding="utf-8"),
        )
    )
    assert len(named) > 40
    assert [name for name in sorted(named) if not (PROJECT_ROOT / name).exists()] == []


def test_each_room_is_a_folder_with_a_word_on_itself() -> None:
    folders = {path.parent.name: path for path in (PROJECT_ROOT / "estuaire").glob("*/__init__.py")}
    assert set(folders) == set(ROOMS)
    assert [name for name, path in folders.items() if not path.read_text(encoding="utf-8").startswith('"""')] == []
