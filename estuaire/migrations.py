"""Brings the platform's own schemas (``control``, ``quality``, ``staging``) to the newest version, with alembic."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from estuaire.settings import PROJECT_ROOT, Settings

SCRIPTS = PROJECT_ROOT / "infra" / "postgres" / "migrations"


def sqlalchemy_url(settings: Settings, role: str = "estuaire", database: str | None = None) -> str:
    """SQLAlchemy URL without a password: libpq reads it from the password file."""
    query = {
        "host": settings.postgres_host or str(settings.socket_dir),
        "port": settings.postgres_port,
        "passfile": settings.passfile,
        "application_name": "estuaire",
    }
    return f"postgresql+psycopg2://{role}@/{database or settings.postgres_database}?{urlencode(query)}"


def upgrade(settings: Settings) -> None:
    """Run the migrations that this database has not seen. Idempotent."""
    from alembic import command
    from alembic.config import Config

    config: Any = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["url"] = sqlalchemy_url(settings)
    command.upgrade(config, "head")
