"""What is published, byte by byte: to compare two platforms that were fed with the same deliveries."""

from __future__ import annotations

import io

import psycopg2

from estuaire.base.settings import Settings
from estuaire.storage.database import Database

RELEASE_COLUMNS = ("release_id", "lake_snapshot", "built_at", "code_version")
ROW_KEYS = (
    "isolate_key",
    "patient_key",
    "specimen_key",
)  # of patient-level marts: pseudonyms, which another key changes


def copied(
    settings: Settings, without: tuple[str, ...] = (), schemas: tuple[str, ...] = ("marts", "conformed")
) -> dict[str, bytes]:
    """Every published table (marts and conformed) as an ordered COPY, without the columns that name the release (and ``without``)."""
    found: dict[str, bytes] = {}
    with psycopg2.connect(Database.of(settings).dsn()) as session, session.cursor() as cursor:
        cursor.execute(
            "select table_schema, table_name, string_agg(quote_ident(column_name), ', ' order by ordinal_position) "
            "from information_schema.columns join information_schema.tables using (table_schema, table_name) "
            "where table_schema = any(%s) and table_type = 'BASE TABLE' and column_name <> all(%s) "
            "and table_name <> 'release' group by 1, 2 order by 1, 2",
            (list(schemas), [*RELEASE_COLUMNS, *without]),
        )
        for schema, table, columns in cursor.fetchall():
            content = io.BytesIO()
            cursor.copy_expert(
                f'copy (select {columns} from {schema}."{table}" order by row({columns})::text collate "C") to stdout',
                content,
            )
            found[f"{schema}.{table}"] = content.getvalue()
    return found
