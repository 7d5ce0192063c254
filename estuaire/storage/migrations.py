"""Brings the platform's own schemas (``control``, ``quality``, ``staging``) to the newest version, with alembic."""

from __future__ import annotations

from typing import Any

from estuaire.base.settings import PROJECT_ROOT
from estuaire.storage.database import Database

SCRIPTS = PROJECT_ROOT / "infra" / "postgres" / "migrations"


def upgrade(database: Database) -> None:
    """Run the migrations that this database has not seen. Idempotent."""
    from alembic import command

    config = _config()
    config.attributes["url"] = database.sqlalchemy_url()
    command.upgrade(config, "head")


def known() -> list[str]:
    """The versions that this code can bring to its own, which is the last one."""
    from alembic.script import ScriptDirectory

    revisions = ScriptDirectory.from_config(_config()).walk_revisions()
    return [str(one.revision) for one in revisions][::-1]


def _config() -> Any:
    from alembic.config import Config

    config: Any = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    return config
