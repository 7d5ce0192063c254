"""The pseudonym key is drawn once, at set-up; its fingerprint in the ledger refuses any other."""

from __future__ import annotations

import itertools
from pathlib import Path

import psycopg2
import pytest

from estuaire.base.errors import PseudonymKeyRefused, SecretUnusable
from estuaire.base.settings import Settings
from estuaire.stack import lifecycle
from estuaire.storage import ledger, migrations, pseudonym_key
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def migrated_once(postgres: Settings) -> str:
    return _database(postgres, "template1", migrate=True)


def _database(postgres: Settings, template: str, *, migrate: bool = False) -> str:
    name = f"keys_{next(_NUMBERS)}"
    session = psycopg2.connect(Database.of(postgres).dsn("postgres", "postgres"))
    session.autocommit = True
    with session.cursor() as cursor:
        cursor.execute(f"create database {name} owner estuaire template {template}")
    session.close()
    if migrate:
        migrations.upgrade(Database.of(postgres.model_copy(update={"postgres_database": name})))
    return name


@pytest.fixture
def settings(postgres: Settings, migrated_once: str, tmp_path: Path) -> Settings:
    """A migrated, empty database, and secrets of the test's own that let into it."""
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "pgpass").write_bytes(postgres.passfile.read_bytes())
    (secrets / "pgpass").chmod(0o600)
    update = {"postgres_database": _database(postgres, migrated_once), "secrets_dir": secrets}
    return postgres.model_copy(update=update)


def _known(settings: Settings) -> list[str]:
    return [
        r["fingerprint"] for r in ledger.fetch(Database.of(settings), "select fingerprint from control.pseudonym_key")
    ]


def _another_key(settings: Settings) -> None:
    path = settings.secrets_path / "pseudonym_key"
    path.write_text("5eed" * 16 + "\n", encoding="utf-8")
    path.chmod(0o600)


def test_the_first_set_up_draws_and_registers_the_next_ones_compare(settings: Settings) -> None:
    pseudonym_key.ensure(Platform(settings))
    key = settings.secret("pseudonym_key")
    assert _known(settings) == [pseudonym_key.fingerprint(key)]
    pseudonym_key.ensure(Platform(settings))
    assert settings.secret("pseudonym_key") == key
    known = pseudonym_key.checked(Platform(settings))
    assert pseudonym_key.read(settings, known) == key.encode()
    assert known not in key
    assert key not in known


def test_a_key_that_was_there_before_the_ledger_asked_is_registered(settings: Settings) -> None:
    _another_key(settings)
    pseudonym_key.ensure(Platform(settings))
    assert _known(settings) == [pseudonym_key.fingerprint("5eed" * 16)]


def test_another_key_is_refused_at_set_up_by_the_driver_and_by_the_task(settings: Settings) -> None:
    pseudonym_key.ensure(Platform(settings))
    known = pseudonym_key.checked(Platform(settings))
    _another_key(settings)
    for use in (pseudonym_key.ensure, pseudonym_key.checked, lambda p: pseudonym_key.read(p.settings, known)):
        with pytest.raises(PseudonymKeyRefused, match="not the one") as raised:
            use(Platform(settings))
        assert "backup" in raised.value.remedy
        assert not raised.value.retryable
    assert _known(settings) == [known]


def test_a_lost_key_is_not_drawn_again(settings: Settings) -> None:
    pseudonym_key.ensure(Platform(settings))
    known = pseudonym_key.checked(Platform(settings))
    (settings.secrets_path / "pseudonym_key").unlink()
    with pytest.raises(PseudonymKeyRefused, match="lost"):
        pseudonym_key.ensure(Platform(settings))
    for use in (pseudonym_key.checked, lambda p: pseudonym_key.read(p.settings, known)):
        with pytest.raises(SecretUnusable):
            use(Platform(settings))
    assert not (settings.secrets_path / "pseudonym_key").exists()


def test_a_key_lost_before_the_ledger_knew_it_is_not_drawn_again_where_something_was_landed(settings: Settings) -> None:
    with Database.of(settings).transaction() as connection, connection.cursor() as cursor:
        cursor.execute("insert into control.landed_file values ('h01', 'd1', 'stay', 'k', 1, 1, 'r')")
    with pytest.raises(PseudonymKeyRefused, match="lost"):
        pseudonym_key.ensure(Platform(settings))
    assert not (settings.secrets_path / "pseudonym_key").exists()


@pytest.mark.parametrize("text", ["", "5eed" * 8])
def test_an_emptied_or_half_key_is_refused_at_set_up(settings: Settings, text: str) -> None:
    path = settings.secrets_path / "pseudonym_key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(SecretUnusable):
        pseudonym_key.ensure(Platform(settings))
    assert _known(settings) == []


def test_without_set_up_nothing_lands(settings: Settings) -> None:
    _another_key(settings)
    with pytest.raises(PseudonymKeyRefused, match="no pseudonym key yet"):
        pseudonym_key.checked(Platform(settings))


def test_nothing_that_runs_after_set_up_can_draw_a_secret() -> None:
    """`ensure_secret` and `draw` are set-up's: no stage, step or command of the pipeline calls them."""
    root = Path(pseudonym_key.__file__).parents[2]
    own = {"estuaire/base/settings.py", "estuaire/base/secret_files.py", "estuaire/storage/pseudonym_key.py"}
    sources = [p for folder in ("estuaire", "spark_jobs", "dags", "infra") for p in (root / folder).rglob("*.py")]
    assert len(sources) > 100
    callers = {
        str(p.relative_to(root))
        for p in sources
        if "ensure_secret(" in (text := p.read_text(encoding="utf-8")) or "secret_files.draw(" in text
    }
    set_up = {
        "estuaire/stack/airflow.py",
        "estuaire/stack/exporter.py",
        "estuaire/stack/postgres.py",
        "estuaire/stack/superuser.py",
        "estuaire/base/alert_settings.py",
    }
    assert callers - own == set_up
    beginnings = {"estuaire/stack/lifecycle.py", "estuaire/stack/init.py"}  # of `estuaire up` and `estuaire init`
    for call in ("pseudonym_key.ensure(", "alert_settings.prepare("):
        assert {str(p.relative_to(root)) for p in sources if call in p.read_text(encoding="utf-8")} == beginnings, call


def test_every_up_compares_even_where_all_runs(postgres: Settings, settings: Settings) -> None:
    """What `up` sees to at each start, on the running server: it registers the key, closes files, and refuses another key."""
    for role in ("postgres", "estuaire", "analyst", "airflow"):
        name = f"postgres_{role}"
        (settings.secrets_path / name).write_bytes((postgres.secrets_path / name).read_bytes())
        (settings.secrets_path / name).chmod(0o600)
    lifecycle._mend(settings, lambda _: None)
    known = _known(settings)
    open_file = settings.secrets_path / "of-before"
    open_file.write_text("x")
    open_file.chmod(0o644)
    assert "Closed 1 files and folders" in lifecycle._mend(settings, lambda _: None)
    assert open_file.stat().st_mode & 0o077 == 0
    _another_key(settings)
    with pytest.raises(PseudonymKeyRefused):
        lifecycle._mend(settings, lambda _: None)
    assert _known(settings) == known
