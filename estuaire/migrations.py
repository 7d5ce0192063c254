"""Brings the platform's own schemas (``control``, ``quality``, ``staging``) to the newest version, with alembic."""

from __future__ import annotations

from typing import Any

from estuaire.settings import PROJECT_ROOT, Settings

SCRIPTS = PROJECT_ROOT / "infra" / "postgres" / "migrations"


def upgrade(settings: Settings) -> None:
    """Run the migrations that this database has not seen. Idempotent."""
    from alembic import command
    from alembic.config import Config

    config: Any = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["url"] = settings.sqlalchemy_url()
    command.upgrade(config, "head")
