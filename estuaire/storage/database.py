"""The platform's PostgreSQL: the one place that opens sessions of it, and says in one way that it does not answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import psycopg2
from psycopg2.extensions import connection as Connection

from estuaire.base.errors import DatabaseUnavailable
from estuaire.base.settings import Settings, conninfo

_APPLICATION = {"application_name": "estuaire"}


@dataclass(frozen=True)
class Database:
    """The way to the server. It holds no session and no password, and goes to Spark's tasks as it is.

    Attributes:
        line: libpq's keywords (``Settings.postgres_line``).
        name: the platform's own database.
        remedy: what to do when it does not answer.
    """

    line: Mapping[str, str]
    name: str
    remedy: str

    @classmethod
    def of(cls, settings: Settings) -> Database:
        """The one that the settings name."""
        if settings.postgres_host:
            where = f"{settings.postgres_host}:{settings.postgres_port}"
            remedy = f"see that {where} answers and that `estuaire init` was run, then try again"
        else:
            remedy = "run `estuaire up`, then try again"
        return cls(settings.postgres_line(), settings.postgres_database, remedy)

    def dsn(self, role: str = "estuaire", database: str | None = None) -> str:
        """libpq connection string, without a password (it stands in ``Settings.passfile``).

        Args:
            role: ``estuaire`` (owner, the pipeline), ``analyst`` (read-only, published marts), ``airflow``, ``Settings.postgres_admin``.
            database: the platform's own where none is named.
        """
        return conninfo({**self.line, "dbname": database or self.name, "user": role, **_APPLICATION})

    def sqlalchemy_url(self, role: str = "estuaire", database: str | None = None) -> str:
        """The same as an address of SQLAlchemy over psycopg2."""
        return f"postgresql+psycopg2://{role}@/{database or self.name}?{urlencode({**self.line, **_APPLICATION})}"

    def connect(
        self, role: str = "estuaire", database: str | None = None, *, remedy: str | None = None, **options: Any
    ) -> Connection:
        """A session that its caller closes.

        Args:
            role, database: as of ``dsn``.
            remedy: what to do when it does not answer, where that is not to start it.
            options: libpq's keywords beside those of the settings.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer, or refuses the role.
        """
        try:
            opened: Connection = psycopg2.connect(self.dsn(role, database), **options)
        except psycopg2.OperationalError as error:
            what = f"database {database} does not answer role {role}" if database else "PostgreSQL does not answer"
            raise DatabaseUnavailable(what, remedy=remedy or self.remedy) from error
        return opened

    @contextmanager
    def session(
        self, role: str = "estuaire", database: str | None = None, *, remedy: str | None = None, **options: Any
    ) -> Iterator[Connection]:
        """As ``connect``, closed at the end of the block: what was not committed is rolled back, and a lock that it holds ends."""
        opened = self.connect(role, database, remedy=remedy, **options)
        try:
            yield opened
        finally:
            opened.close()

    @contextmanager
    def transaction(self, role: str = "estuaire", database: str | None = None) -> Iterator[Connection]:
        """As ``session``, in one transaction: committed at the end of the block, rolled back on an exception."""
        with self.session(role, database) as opened, opened:
            yield opened
