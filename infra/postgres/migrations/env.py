"""alembic's entry: one connection, from the URL that estuaire.storage.migrations hands over."""

from alembic import context
from sqlalchemy import create_engine, pool

engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, version_table="estuaire_version")
    with context.begin_transaction():
        context.run_migrations()
