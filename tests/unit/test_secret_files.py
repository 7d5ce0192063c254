"""A secret is put in place whole or not at all, and an empty, short or damaged one is neither used nor replaced."""

from __future__ import annotations

import errno
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from estuaire.base.errors import SecretUnusable
from estuaire.base.settings import Settings
from estuaire.stack import airflow, postgres

HALF = "0123456789abcdef" * 2
DAMAGED = {
    "empty": b"",
    "an empty line": b"\n",
    "spaces": b"   \n",
    "zeros of a crash": b"\0" * 65,
    "half written": HALF.encode(),
    "all but one digit": (HALF * 2)[:-1].encode() + b"\n",
    "not ASCII": "é".encode() * 64,
    "not UTF-8": b"\xff" * 64,
    "a mark in front": b"\xef\xbb\xbf" + (HALF * 2).encode(),
    "two lines": (HALF * 2 + "\n" + HALF * 2).encode(),
    "a whole file of something": b"x" * 100_000,
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, home=tmp_path / "home")


def _written(settings: Settings, name: str, data: bytes) -> Path:
    settings.secrets_path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = settings.secrets_path / name
    path.write_bytes(data)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_key_is_refused_and_stays_as_it_is(settings: Settings, data: bytes) -> None:
    path = _written(settings, "pseudonym_key", data)
    for read in (settings.secret, lambda name: settings.ensure_secret(name, 32)):
        with pytest.raises(SecretUnusable, match=r"'pseudonym_key' is (empty|damaged)") as raised:
            read("pseudonym_key")
        assert HALF not in str(raised.value), "no part of a secret stands in an error"
        assert "backup" in raised.value.remedy
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    "name", ["postgres_estuaire", "postgres_postgres", "airflow_admin", "airflow_jwt", "airflow_fernet"]
)
@pytest.mark.parametrize("data", [b"", b"\n", b"ab12"])
def test_every_other_secret_too(settings: Settings, name: str, data: bytes) -> None:
    path = _written(settings, name, data)
    with pytest.raises(SecretUnusable, match=f"'{name}'"):
        airflow.prepare(settings) if name.startswith("airflow") else postgres.ensure_passwords(settings)
    assert path.read_bytes() == data


def test_what_is_no_file_is_refused(settings: Settings, tmp_path: Path) -> None:
    (settings.secrets_path / "airflow_jwt").mkdir(parents=True)
    (settings.secrets_path / "airflow_api").symlink_to(tmp_path / "nowhere")
    for name in ("airflow_jwt", "airflow_api"):
        with pytest.raises(SecretUnusable):
            settings.ensure_secret(name)


def test_a_key_of_an_operators_own_is_taken_as_it_is(settings: Settings) -> None:
    own = "a key that was made elsewhere, as long as a drawn one is, or longer: 0123456789"
    _written(settings, "pseudonym_key", own.encode() + b"\r\n")
    assert settings.secret("pseudonym_key") == own


@pytest.mark.parametrize("step", ["write", "fsync", "link"])
def test_a_full_disk_leaves_no_half_key(settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, {"write": "fdopen", "fsync": "fsync", "link": "link"}[step], full)
        with pytest.raises(SecretUnusable, match="No space left"):
            settings.ensure_secret("pseudonym_key", 32)
    assert list(settings.secrets_path.iterdir()) == []
    assert len(settings.ensure_secret("pseudonym_key", 32)) == 64


def _draw(settings: Settings, barrier: Any, found: Any) -> None:
    barrier.wait()
    found.put(settings.ensure_secret("pseudonym_key", 32))


def test_processes_that_start_together_have_one_key(settings: Settings) -> None:
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        barrier, found = context.Barrier(6), context.Queue()
        racers = [context.Process(target=_draw, args=(settings, barrier, found)) for _ in range(6)]
        for racer in racers:
            racer.start()
        keys = {found.get(timeout=30) for _ in racers}
        for racer in racers:
            racer.join()
        assert keys == {settings.secret("pseudonym_key")}
        (settings.secrets_path / "pseudonym_key").unlink()


def test_an_empty_key_of_the_environment_empties_no_file(settings: Settings) -> None:
    _written(settings, "s3_access_key", b"kept-as-a-file\n")
    given = settings.model_copy(update={"s3_access_key": SecretStr("")})
    airflow.prepare(given)
    assert given.secret("s3_access_key") == "kept-as-a-file"


def test_a_lost_superusers_password_beside_its_cluster_is_said(settings: Settings) -> None:
    before = postgres.ensure_passwords(settings)
    settings.postgres_data.mkdir()
    (settings.postgres_data / "PG_VERSION").write_text("18\n")
    (settings.secrets_path / "postgres_postgres").unlink()
    with pytest.raises(SecretUnusable, match="superuser") as raised:
        postgres.ensure_passwords(settings)
    assert str(settings.passfile) in raised.value.remedy
    assert not (settings.secrets_path / "postgres_postgres").exists()
    (settings.secrets_path / "postgres_estuaire").unlink()
    _written(settings, "postgres_postgres", before["postgres"].encode())
    assert postgres.ensure_passwords(settings)["estuaire"] != before["estuaire"]  # roles.ensure gives it to the role
