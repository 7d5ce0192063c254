"""A setting means one folder, for a command typed anywhere and for a task that Airflow starts elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from estuaire.base.settings import PROJECT_ROOT, Settings
from estuaire.stack import airflow

NAMES = ("HOME", "STORE_ROOT", "SECRETS_DIR", "REGISTRY_DIR", "REAL_DATA")
SAID = """
import json
from estuaire.base.settings import Settings
s = Settings()
print(json.dumps({n: str(p) for n, p in {"HOME": s.root, "STORE_ROOT": s.store_path, "SECRETS_DIR": s.secrets_path,
    "REGISTRY_DIR": s.registry_dir, "REAL_DATA": s.real_data_path}.items()} | {"language": s.language}))
"""


def _read(cwd: Path, env: dict[str, str]) -> dict[str, str]:
    done = subprocess.run([sys.executable, "-c", SAID], cwd=cwd, env=env, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _bare() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("ESTUAIRE_")}


def test_relative_folders_are_the_projects_from_anywhere(tmp_path: Path) -> None:
    env = (
        _bare() | {f"ESTUAIRE_{name}": f"some/../{name.lower()}" for name in NAMES} | {"PYTHONPATH": str(PROJECT_ROOT)}
    )
    first, second = tmp_path / "one", tmp_path / "two"
    first.mkdir(), second.mkdir()
    found = [_read(cwd, env) for cwd in (first, second, PROJECT_ROOT)]
    assert found[0] == found[1] == found[2]
    assert {n: found[0][n] for n in NAMES} == {n: str(PROJECT_ROOT / n.lower()) for n in NAMES}


def test_airflows_processes_and_tasks_read_the_same_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their working folder is Airflow's home; their environment is the one that `up` gives them."""
    for name in NAMES:
        monkeypatch.setenv(f"ESTUAIRE_{name}", f"relative-{name.lower()}")
    elsewhere = tmp_path / "airflow"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    command = _read(PROJECT_ROOT, dict(os.environ) | {"PYTHONPATH": str(PROJECT_ROOT)})
    task = _read(elsewhere, airflow.environment(Settings(), Path("/jdk")))
    assert task == command
    exported = airflow.settings_environment(Settings())
    assert all(Path(exported[f"ESTUAIRE_{name}"]).is_absolute() for name in NAMES)


def test_the_dotenv_file_is_the_projects_own_from_anywhere(tmp_path: Path) -> None:
    """On a copy of the few modules that settings need, so that the file can be written beside them."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    base = project / "estuaire" / "base"
    base.mkdir(parents=True), elsewhere.mkdir()
    shutil.copy(PROJECT_ROOT / "estuaire" / "__init__.py", project / "estuaire")
    for name in ("__init__", "settings", "secret_files", "private_files", "display_text"):
        shutil.copy(PROJECT_ROOT / "estuaire" / "base" / f"{name}.py", base)
    shutil.copytree(PROJECT_ROOT / "estuaire" / "base" / "errors", base / "errors")
    (project / ".env").write_text("ESTUAIRE_LANGUAGE=fr\nESTUAIRE_STORE_ROOT=data\n", encoding="utf-8")
    (elsewhere / ".env").write_text("ESTUAIRE_LANGUAGE=en\nESTUAIRE_STORE_ROOT=/elsewhere\n", encoding="utf-8")
    env = _bare() | {"PYTHONPATH": str(project)}
    for cwd in (project, elsewhere, Path("/")):
        found = _read(cwd, env)
        assert (found["language"], found["STORE_ROOT"]) == ("fr", str((project / "data").resolve()))


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_folder_is_none_given(monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    """`ESTUAIRE_HOME=` would otherwise be the folder that one stands in, and `clean` would empty it."""
    for name in NAMES:
        monkeypatch.delenv(f"ESTUAIRE_{name}", raising=False)
    default = Settings(_env_file=None)
    for name in NAMES:
        monkeypatch.setenv(f"ESTUAIRE_{name}", empty)
    assert Settings(_env_file=None) == default
    assert default.root == PROJECT_ROOT / ".estuaire"


def test_a_persons_home_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESTUAIRE_STORE_ROOT", "~/data")
    assert Settings(_env_file=None).store_path == Path.home().resolve() / "data"
