"""The superuser's lost password: `up` gives a new one on a data folder that is its own; it was an error that only a backup mended."""

from __future__ import annotations

import base64

import psycopg2
import pytest

from estuaire.base.errors import SecretUnusable
from estuaire.base.settings import Settings
from estuaire.stack import postgres as server
from estuaire.stack import roles, superuser
from estuaire.stack.postgres_config import HBA
from estuaire.storage.database import Database


@pytest.fixture(scope="module")
def own(own_server: Settings) -> Settings:
    """The module's server."""
    return own_server


def _ask(settings: Settings, role: str = "postgres") -> object:
    with (
        psycopg2.connect(Database.of(settings).dsn(role, "postgres" if role == "postgres" else None)) as session,
        session.cursor() as cursor,
    ):
        cursor.execute(
            "select rolpassword from pg_authid where rolname = 'postgres'" if role == "postgres" else "select 1"
        )
        return cursor.fetchone()[0]  # type: ignore[index]


def test_a_verifier_is_the_one_that_postgresql_makes(own: Settings) -> None:
    """With the salt that the server drew for the password that initdb gave it."""
    kept = str(_ask(own))
    salt = base64.b64decode(kept.split("$")[1].split(":")[1])
    assert superuser.verifier(own.secret(superuser.SECRET), salt) == kept


def test_a_running_servers_password_comes_back_from_the_password_file(own: Settings) -> None:
    path = own.secrets_path / superuser.SECRET
    before = path.read_text()
    path.unlink()
    assert superuser.repair(own)
    assert path.read_text().strip() == before.strip()
    assert path.stat().st_mode & 0o777 == 0o600
    assert not superuser.repair(own)
    # nothing opens the server: it is not stopped under those who use it
    path.unlink()
    kept = own.passfile.read_text()
    own.passfile.write_text("*:*:*:postgres:wrong\n")
    try:
        with pytest.raises(SecretUnusable, match="superuser is lost, and PostgreSQL runs") as raised:
            superuser.repair(own)
        assert "`estuaire down` and then `estuaire up`" in raised.value.remedy
        assert not path.exists()
    finally:
        own.passfile.write_text(kept)
        path.write_text(before)
        path.chmod(0o600)


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_a_stopped_servers_superuser_gets_a_new_password_and_nothing_is_opened(own: Settings, killed: bool) -> None:
    before = own.secret(superuser.SECRET)
    if killed:
        process = server.postmaster(own)
        assert process is not None
        process.kill()
        process.wait(10)
    else:
        server.stop(own)
    (own.secrets_path / superuser.SECRET).unlink()
    own.passfile.unlink()
    assert superuser.repair(own)
    now = own.secret(superuser.SECRET)
    assert now != before
    assert (own.postgres_data / "pg_hba.conf").read_text() == HBA
    server.start(own)
    roles.ensure(own, server.ensure_passwords(own))
    assert str(_ask(own)).startswith("SCRAM-SHA-256$")
    assert _ask(own, "estuaire") == 1
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(Database.of(own).dsn("postgres", "postgres"), password=before, passfile="/dev/null")
    assert now not in (own.logs / "postgres.log").read_text()


def test_a_secret_that_was_changed_is_given_before_a_containers_server_starts(own: Settings) -> None:
    """It was an installation that `init` could no longer enter."""
    server.stop(own)
    secret = own.secrets_path / superuser.SECRET
    assert superuser.take_given(own)  # of a volume that a version before made
    assert not superuser.take_given(own)
    secret.write_text("a-new-one-that-an-operator-drew\n")
    assert superuser.take_given(own)
    assert not superuser.take_given(own)
    (own.root / "superuser.verifier").write_text(
        "SCRAM-SHA-256$4096:half"
    )  # damaged: given again, not in the way of a start
    assert superuser.take_given(own)
    kept = (own.root / "superuser.verifier").read_text()
    assert "a-new-one" not in kept
    server.start(own)
    assert _ask(own) == kept.strip()


def test_where_the_whole_folder_of_secrets_is_gone_it_stays_an_error(own: Settings) -> None:
    """Another folder may be named by mistake: new passwords would lock out the right one."""
    aside = own.secrets_path.rename(own.secrets_path.with_name("aside"))
    try:
        with pytest.raises(SecretUnusable, match="those of all other roles"):
            superuser.repair(own)
        assert not own.secrets_path.exists()
    finally:
        aside.rename(own.secrets_path)
