"""`estuaire init`: an installation on servers that are there already, made ready once; again, it changes nothing and mends what is missing.

It alone needs the administrator of PostgreSQL. Whatever runs later has the platform's own roles and only reads the pseudonym key.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from estuaire.base import alert_settings, private_files
from estuaire.base.errors import SetupError
from estuaire.base.settings import Settings
from estuaire.stack import airflow, postgres, roles, watchers
from estuaire.stack.lock import alone
from estuaire.storage import migrations, pseudonym_key
from estuaire.storage.platform import Platform

Report = Callable[[str], None]


@dataclass(frozen=True)
class Initialised:
    """What `init` made (nothing where all was there), what its administrator of PostgreSQL may not do, and how long it took.

    ``left``: statements for a superuser; without them an analyst's sessions have weaker limits. ``fingerprint``: the pseudonym key's, as
    the ledger holds it.
    """

    made: tuple[str, ...]
    left: tuple[str, ...]
    fingerprint: str
    seconds: float


def init(settings: Settings, report: Report = lambda _: None) -> Initialised:
    """Roles, databases, the platform's tables, the bucket, the pseudonym key with its fingerprint, the lake's catalog, Airflow's tables.

    Raises:
        SetupError: the settings name no external PostgreSQL; a role or database of our name is another's; a secret is lost or damaged.
        DatabaseUnavailable: the server does not answer, or refuses its administrator.
        PseudonymKeyRefused: the key is not the one that this database's ledger knows.
        StoreRefused, StoreUnavailable: the object store.
    """
    if not settings.postgres_host:
        raise SetupError(
            "the settings name no PostgreSQL of your own", remedy="set ESTUAIRE_POSTGRES_HOST, or run `estuaire up`"
        )
    began, platform = time.monotonic(), Platform(settings)
    with alone(settings, report):
        private_files.folder(settings.secrets_path)
        alert_settings.prepare(settings)
        report("roles and databases")
        ensured = roles.ensure(settings, postgres.ensure_passwords(settings))
        made = list(ensured.made)
        report("the platform's tables")
        migrations.upgrade(platform.database)
        made += _bucket(settings, report)
        report("the pseudonym key")
        pseudonym_key.ensure(platform)
        report("the lake's catalog")
        platform.lake.ensure()
        airflow.prepare(settings)
        report("Airflow's tables")
        if airflow.migrate(settings, airflow.environment(settings, None)):
            made.append("Airflow's tables")
        if watchers.forget_unreadable(settings):
            report("watchers that Airflow's key does not open: its DAGs make them again")
        return Initialised(tuple(made), tuple(ensured.left), pseudonym_key.checked(platform), time.monotonic() - began)


def _bucket(settings: Settings, report: Report) -> list[str]:
    if settings.store != "s3":
        return []
    from estuaire.storage.s3 import S3Store

    report(f"the bucket {settings.s3_bucket}")
    store = S3Store(settings)
    made = [f"bucket {settings.s3_bucket}"] if store.ensure_bucket() else []
    store.check()
    return made
