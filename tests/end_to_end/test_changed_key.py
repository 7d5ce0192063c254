"""Airflow's key is changed: `up` makes the watchers that it no longer opens anew; its triggerer ended at each start for ever."""

from __future__ import annotations

import contextlib
import time

import psycopg2
import pytest
from cryptography.fernet import Fernet

from estuaire.base.settings import Settings
from estuaire.stack import watchers
from estuaire.stack.airflow import FERNET
from estuaire.storage.database import Database

pytestmark = pytest.mark.stack


def test_a_watcher_of_another_key_is_removed_and_one_of_this_key_stays(running_stack: Settings) -> None:
    own = Fernet(running_stack.secret(FERNET)).encrypt(b"{}").decode()
    other = Fernet(Fernet.generate_key()).encrypt(b"{}").decode()
    session = psycopg2.connect(Database.of(running_stack).dsn("airflow", running_stack.airflow_database))
    with contextlib.closing(session), session.cursor() as cursor:
        session.autocommit = True
        asset = None
        limit = time.monotonic() + 120  # the DAG files are read
        while asset is None:
            assert time.monotonic() < limit
            time.sleep(1)
            cursor.execute("select id from asset limit 1")
            asset = cursor.fetchone()
        made = {}
        for name, kept in {"own": own, "other": other}.items():
            cursor.execute(
                "insert into trigger (classpath, kwargs, created_date) values ('none.such', %s, now()) returning id",
                (kept,),
            )
            [made[name]] = cursor.fetchone()  # type: ignore[misc]
            cursor.execute(
                "insert into asset_watcher (name, asset_id, trigger_id) values (%s, %s, %s)",
                (name, asset[0], made[name]),
            )
        assert watchers.forget_unreadable(running_stack) == 1
        cursor.execute("select id from trigger where id = any(%s)", (list(made.values()),))
        assert cursor.fetchall() == [(made["own"],)]
        cursor.execute("delete from asset_watcher where trigger_id = %s", (made["own"],))
        cursor.execute("delete from trigger where id = %s", (made["own"],))
        assert watchers.forget_unreadable(running_stack) == 0
