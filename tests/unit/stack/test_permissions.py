"""What patients' records lie in is closed to every other account of the machine; what was left open is closed by `up`."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from estuaire.base.settings import Settings
from estuaire.stack import account, permissions
from estuaire.storage.object_store import DirectoryStore
from estuaire.storage.stores import open_store

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another account")


@pytest.fixture
def settings() -> Iterator[Settings]:
    """A home in a folder that every account may enter (pytest's own is closed)."""
    before = os.umask(0o022)
    top = Path(tempfile.mkdtemp())
    top.chmod(0o755)
    yield Settings(_env_file=None, home=top / "home")
    os.umask(before)
    subprocess.run(["rm", "-rf", str(top)], check=True)  # a deep tree is too much for shutil


def _as_nobody(*command: str) -> bool:
    done = subprocess.run(command, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=False)
    return done.returncode == 0


def _left_open(settings: Settings) -> list[Path]:
    """What a version before wrote: 0755 and 0644."""
    made = []
    for name in ("landing/h01/d1/patient.csv", "lake/landed/stay/hospital=h01/x.parquet", "work/r/x.parquet"):
        made.append(settings.store_path / name)
    made += [
        settings.logs / "scheduler.log",
        settings.secrets_path / "postgres_estuaire",
        settings.root / "airflow" / "migrated",
    ]
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1850178006084\n", encoding="utf-8")
    return made


def _open(settings: Settings) -> list[Path]:
    return [p for p in [settings.root, *settings.root.rglob("*")] if not p.is_symlink() and p.stat().st_mode & 0o077]


@as_root
def test_a_patients_file_cannot_be_read_by_another_account(settings: Settings) -> None:
    old = _left_open(settings)[0]
    assert _as_nobody("cat", str(old)), "the test needs a file that was open"
    open_store(settings).put_bytes("landing/h01/d2/patient.csv", b"1850178006084\n")
    new = settings.store_path / "landing/h01/d2/patient.csv"
    permissions.repair(settings, None)
    for path in (old, new):
        assert not _as_nobody("cat", str(path))
        assert not _as_nobody("ls", str(path.parent))
        path.parent.chmod(0o755), settings.root.chmod(0o755)  # even where somebody opens the folders on the way
        assert not _as_nobody("cat", str(path))


def test_what_is_open_is_closed_counted_and_then_quiet(settings: Settings) -> None:
    program = settings.root / "jdk" / "bin" / "java"
    for path in [*_left_open(settings), program]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    program.chmod(0o755)
    outside = settings.root.parent / "outside"
    outside.write_text("x")
    (settings.root / "logs" / "link").symlink_to(outside)
    count = len(_open(settings))
    assert count > 15
    found = permissions.repair(settings, None)
    assert (found.closed, found.foreign) == (count, 0)
    assert str(count) in found.sentence()
    assert _open(settings) == []
    assert stat.S_IMODE(program.stat().st_mode) == 0o700, "a program stays one"
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644, "a link is not followed"
    again = permissions.repair(settings, None)
    assert (again.closed, again.sentence()) == (0, "")


def test_a_store_and_secrets_elsewhere_are_closed_too_and_nothing_beside_them(settings: Settings) -> None:
    top = settings.root.parent
    own = Settings(_env_file=None, home=top / "home", store_root=top / "data", secrets_dir=top / "keys")
    made = _left_open(own)
    bystander = top / "data" / "of-somebody" / "x"
    bystander.parent.mkdir()
    bystander.write_text("x")
    permissions.repair(own, None)
    assert [p for p in made if p.stat().st_mode & 0o077 or p.parent.stat().st_mode & 0o077] == []
    assert bystander.stat().st_mode & 0o777 == 0o644


def test_the_servers_account_keeps_its_way_and_nobody_else_gets_one(settings: Settings) -> None:
    server = 4242
    _left_open(settings)
    settings.postgres_data.mkdir()
    permissions.repair(settings, server)
    changed = account.open_path(settings.postgres_data, server)
    assert settings.root in changed
    assert permissions.repair(settings, server).closed == 0, "its way is not closed again at each start"
    acl = account.acl_with_search(os.getxattr(settings.root, "system.posix_acl_access"), 0o700, 4343)
    os.setxattr(settings.root, "system.posix_acl_access", acl)
    assert permissions.repair(settings, server).closed == 1, "another account's is"


def test_a_delivery_may_be_deep_and_its_names_any_bytes(settings: Settings) -> None:
    landing = settings.store_path / "landing"
    landing.mkdir(parents=True)
    here = os.getcwd()
    try:
        os.chdir(landing)
        for _ in range(1_500):
            os.mkdir("d"), os.chdir("d")
        Path(os.fsdecode(b"\xff.csv")).write_text("x")
    finally:
        os.chdir(here)
    assert permissions.repair(settings, None).closed >= 1_500
    assert not landing.stat().st_mode & 0o077


def test_postgresqls_own_folder_is_left_to_it(settings: Settings) -> None:
    settings.postgres_data.mkdir(parents=True)
    file = settings.postgres_data / "postgresql.conf"
    file.write_text("x")
    permissions.repair(settings, 4242)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_what_the_store_makes_is_private_whatever_the_umask(settings: Settings, tmp_path: Path) -> None:
    store = DirectoryStore(settings.store_path)
    source = tmp_path / "source"
    source.write_bytes(b"x")
    store.put_bytes("landing/h01/d1/a.csv", b"x")
    store.put_bytes("landing/h01/d1/b.csv", b"x", if_none_match=True)
    store.put_file("landing/h01/d1/c.csv", source)
    assert [info.key[-5:] for info in store.list("landing/")] == ["a.csv", "b.csv", "c.csv"]
    assert _open(settings) == []


@pytest.mark.parametrize("entry", ["estuaire.cli", "estuaire.warehouse.dbt_process", "spark_jobs.submit"])
def test_every_entry_begins_by_closing_what_it_will_make(entry: str, tmp_path: Path) -> None:
    """Whatever its arguments: the umask is set before anything is read or written."""
    code = f"import os, sys, {entry} as e; sys.argv = ['x', 'land', 'r'] if e.__name__.endswith('submit') else ['x', '--help']\n"
    code += "import atexit; atexit.register(lambda: print('UMASK', oct(os.umask(0)), flush=True))\ne.main()"
    env = {**os.environ, "ESTUAIRE_HOME": str(tmp_path), "SPARK_HOME": "/nowhere", "JAVA_HOME": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, umask=0o022, check=False
    )
    assert "UMASK 0o77" in done.stdout
