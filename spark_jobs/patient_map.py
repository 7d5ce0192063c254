"""Which local patients are one person, across hospitals: the one thing that looks at all hospitals together.

Same person = same validated INS/NIR (twin rank included, see the contract), or same upstream pseudonym from the same authority. Where the
patients of such a link disagree on sex or birth year, the link is not made. No probabilistic matching. Local ids that their hospital merged
are one person by its own word, and what identifies either of them identifies both. In DuckDB: docs/decisions/0010.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from estuaire.base.sql import Sql, Statements

STATEMENTS = Statements(Path(__file__).parent / "sql")


def patient_map(connection: duckdb.DuckDBPyConnection, patients: Sql) -> duckdb.DuckDBPyRelation:
    """The patient map, as a relation of the connection in order of hospital_id, patient_id; temporary tables of it are replaced.

    Args:
        patients: SQL of a relation with one row per (hospital_id, patient_id), with sex, birth_date, national_id, upstream_pseudonym
            (pseudonyms or null) and merged_into (the local id that the hospital merged this one into, or null).

    Returns:
        hospital_id, patient_id, patient_key (32 hex digits), link_method: national_id, upstream_pseudonym, merge (by the hospital alone),
        conflict (a link that its patients' sex or birth year forbids) or none. Same input, same keys, whatever the order of rows.
    """
    _table(connection, "base", STATEMENTS("patient_base", patients=patients))
    _table(connection, "claims", STATEMENTS("patient_claims"))
    _table(connection, "edges", "select node, token from claims where agrees")
    # label propagation: each node takes the smallest token that it reaches, until nothing changes
    _table(connection, "labels", "select node, min(token) as label from edges group by node")
    moved = _any(connection, "select 1 from edges group by node having count(*) > 1")
    while moved:
        _table(connection, "following", STATEMENTS("patient_following"))
        moved = _any(
            connection, "select 1 from following as f inner join labels as l using (node) where f.label <> l.label"
        )
        connection.execute("drop table labels; alter table following rename to labels")
    return connection.sql(STATEMENTS("patient_mapped"))


def _table(connection: duckdb.DuckDBPyConnection, name: str, query: str) -> None:
    connection.execute(f"create or replace temp table {name} as {query}")


def _any(connection: duckdb.DuckDBPyConnection, query: str) -> bool:
    return connection.execute(f"{query} limit 1").fetchone() is not None
