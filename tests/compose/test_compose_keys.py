"""Every secret but the pseudonym key is changed in one go (docs/engineers/runbooks.md): the platform goes on, the old ones open nothing."""

from __future__ import annotations

import contextlib

import anonymous
import psycopg2
import pytest
from beside import published_beside, same
from compose_project import Project
from published import copied
from small_platform import SmallPlatform

pytestmark = [pytest.mark.compose]


def test_every_key_but_the_pseudonyms_is_changed(up: Project, embedded: SmallPlatform) -> None:
    old = up.secret_values()
    for path in up.secrets.iterdir():
        if path.name != "pseudonym_key":
            path.unlink()
    up.draw_secrets()
    new = up.secret_values()
    assert new.keys() == old.keys()
    assert [name for name in new if new[name] == old[name]] == ["pseudonym_key"]
    up.start("--force-recreate")
    for role in ("postgres", "estuaire", "analyst", "airflow"):
        assert not _opens(up, role, old[f"postgres_{role}"])
        assert _opens(up, role, new[f"postgres_{role}"])
    server = f"http://127.0.0.1:{up.port}"
    assert not anonymous.lets_in(server, "admin", old["airflow_admin"])
    assert anonymous.lets_in(server, "admin", new["airflow_admin"])
    up.wait_published(up.deliver())
    same(copied(up.settings()), published_beside(embedded, up.sequence))


def _opens(up: Project, role: str, password: str) -> bool:
    settings = up.settings()
    database = settings.airflow_database if role == "airflow" else settings.postgres_database
    try:
        session = psycopg2.connect(
            host=settings.postgres_host, port=settings.postgres_port, user=role, password=password, dbname=database
        )
    except psycopg2.OperationalError:
        return False
    with contextlib.closing(session):
        return True
