"""`estuaire clean` asks, keeps landing and the secrets, and never takes more than the stack's own; a stray name stops no sweep."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from estuaire.base import process_identity
from estuaire.base.errors import SetupError
from estuaire.base.settings import PROJECT_ROOT, Settings
from estuaire.operations import cleaning
from estuaire.storage.local_files import sweep
from estuaire.storage.stores import open_store

CLEAN = [sys.executable, "-c", "from estuaire.cli import main; main()", "clean"]
FILES = (
    "store/landing/h01/d1/manifest.json", "store/lake/landed/x.parquet", "store/work/x", "postgres/PG_VERSION", "logs/x.log",
    "secrets/pseudonym_key", "run/lock",
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    for name in FILES:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("x")
    return home


def _clean(home: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "ESTUAIRE_HOME": str(home), **variables}
    return subprocess.run(
        [*CLEAN, *options], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def _left(home: Path) -> set[str]:
    return {str(p.relative_to(home)) for p in home.rglob("*") if p.is_file()} if home.exists() else set()


def test_without_a_terminal_and_without_yes_nothing_goes(home: Path) -> None:
    done = _clean(home)
    assert done.returncode != 0
    assert "--yes" in done.stderr
    assert "Traceback" not in done.stderr
    assert {"postgres/PG_VERSION", "secrets/pseudonym_key"} <= _left(home)
    assert set(FILES) <= _left(home)


def test_yes_removes_all_but_landing_and_the_secrets(home: Path) -> None:
    done = _clean(home, "--yes")
    assert done.returncode == 0, done.stderr
    assert _left(home) == {"store/landing/h01/d1/manifest.json", "secrets/pseudonym_key"}
    assert f"stays  {home / 'secrets'}" in done.stdout


def test_secrets_go_where_they_are_named(home: Path) -> None:
    assert _clean(home, "--yes", "--secrets").returncode == 0
    assert _left(home) == {"store/landing/h01/d1/manifest.json"}


def test_a_store_and_secrets_elsewhere(home: Path, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, home=home, store_root=tmp_path / "data", secrets_dir=tmp_path / "keys")
    for name in ("data/landing/x", "data/lake/x", "data/work/x", "data/of-somebody/x", "keys/pseudonym_key"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    going = cleaning.plan(settings)
    assert going.paths == [home, tmp_path / "data" / "lake", tmp_path / "data" / "work"]
    cleaning.remove(open_store(settings), going)
    assert _left(tmp_path) == {"data/landing/x", "data/of-somebody/x", "keys/pseudonym_key"}
    assert cleaning.plan(settings, secrets=True).paths == [tmp_path / "keys"]


def test_a_landing_that_is_a_link_stays_with_what_it_links_to(home: Path) -> None:
    landing = home / "store" / "landing"
    landing.rename(home / "deliveries")
    landing.symlink_to(home / "deliveries")
    settings = Settings(_env_file=None, home=home)
    cleaning.remove(open_store(settings), cleaning.plan(settings))
    assert (home / "store" / "landing" / "h01" / "d1" / "manifest.json").read_text() == "x"


@pytest.mark.parametrize("root", [PROJECT_ROOT, PROJECT_ROOT.parent, Path.home(), Path("/")])
def test_a_home_that_is_more_than_the_stacks_own_is_refused(root: Path) -> None:
    with pytest.raises(SetupError, match="no folder of the stack's own"):
        cleaning.plan(Settings(_env_file=None, home=root))


def test_nothing_to_remove(tmp_path: Path) -> None:
    done = _clean(tmp_path / "home")
    assert (done.returncode, "nothing to remove" in done.stdout) == (0, True), done.stderr


# ------------------------------------------------------------------------------------------------ scratch


def test_a_stray_name_in_scratch_stops_no_sweep(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, home=tmp_path)
    me, ticks = os.getpid(), process_identity.start_ticks(os.getpid())
    dead = 2**22 + 1
    stays = [
        "notes",
        "lost+found",
        "x-1",
        "-",
        f"{me}-{ticks}-abcdefgh",
        f"{me}-abcdefgh",
        "123",
        "١-abcdefgh",
        f"{dead}-mine.txt",
    ]
    goes = [f"{dead}-abcdefgh", f"{dead}-77-abcdefgh", f"{me}-{(ticks or 0) + 1}-abcdefgh"]
    for name in [*stays, *goes]:
        (settings.scratch / name).mkdir(parents=True)
    (settings.scratch / f"{dead}-ijklmnop").write_text("a file")
    sweep(settings)
    assert {p.name for p in settings.scratch.iterdir()} == {*stays, f"{dead}-ijklmnop"}
