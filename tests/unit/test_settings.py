"""Settings: typed, from the environment; secrets in files that only their owner reads."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pydantic import ValidationError

from estuaire.base.errors import SetupError
from estuaire.base.settings import Settings
from estuaire.storage.database import Database


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, home=tmp_path / "home")


def test_a_secret_is_drawn_once_and_only_its_owner_reads_it(settings: Settings) -> None:
    first = settings.ensure_secret("pseudonym_key", 32)
    assert len(first) == 64
    path = settings.secrets_path / "pseudonym_key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.secrets_path.stat().st_mode) == 0o700
    assert settings.ensure_secret("pseudonym_key", 32) == first
    assert settings.secret("pseudonym_key") == first
    assert settings.ensure_secret("other", 32) != first


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_secret_that_others_may_touch_is_refused_with_the_command_to_run(settings: Settings, mode: int) -> None:
    value = settings.ensure_secret("pseudonym_key", 32)
    path = settings.secrets_path / "pseudonym_key"
    path.chmod(mode)
    for read in (settings.secret, settings.ensure_secret):
        with pytest.raises(SetupError) as raised:
            read("pseudonym_key")
        assert f"chmod 600 {path}" in raised.value.remedy
        assert value not in str(raised.value)
    path.chmod(0o400)
    assert settings.secret("pseudonym_key") == value


def test_a_missing_secret_is_named(settings: Settings) -> None:
    with pytest.raises(SetupError, match="'airflow'"):
        settings.secret("airflow")


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ESTUAIRE_HOME", str(tmp_path / "a"))
    monkeypatch.setenv("ESTUAIRE_POSTGRES_PORT", "5555")
    monkeypatch.setenv("ESTUAIRE_STORE_ROOT", str(tmp_path / "elsewhere"))
    settings = Settings(_env_file=None)
    assert settings.root == (tmp_path / "a").resolve()
    assert settings.store_path == (tmp_path / "elsewhere").resolve()
    assert "port=5555" in Database.of(settings).dsn()


def test_a_dotenv_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ESTUAIRE_LANGUAGE", raising=False)
    (tmp_path / ".env").write_text("ESTUAIRE_LANGUAGE=fr\n", encoding="utf-8")
    assert Settings(_env_file=tmp_path / ".env").language == "fr"


@pytest.mark.parametrize(
    ("name", "value"), [("POSTGRES_PORT", "80"), ("AIRFLOW_PORT", "x"), ("STORE", "floppy"), ("LANGUAGE", "de")]
)
def test_a_wrong_value_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"ESTUAIRE_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings(_env_file=None)


def test_no_password_stands_in_a_connection_string(settings: Settings) -> None:
    password = settings.ensure_secret("postgres")
    assert password not in Database.of(settings).dsn()
    assert "password=" not in Database.of(settings).dsn()
    assert f"passfile={settings.passfile}" in Database.of(settings).dsn()


def test_the_socket_path_stays_below_the_systems_limit(tmp_path: Path) -> None:
    deep = Settings(_env_file=None, home=tmp_path / ("x" * 60) / ("y" * 60))
    assert len(str(deep.socket_dir)) + len("/.s.PGSQL.65535") <= 107
    other = Settings(_env_file=None, home=tmp_path / ("x" * 60) / ("z" * 60))
    assert deep.socket_dir != other.socket_dir
