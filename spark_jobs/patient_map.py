"""Which local patients are one person, across hospitals: the one thing that looks at all hospitals together.

Same person = same validated INS/NIR (twin rank included, see the contract), or same upstream pseudonym from the same authority. Where the
patients of such a link disagree on sex or birth year, the link is not made. No probabilistic matching. Local ids that their hospital merged
are one person by its own word, and what identifies either of them identifies both. In DuckDB: docs/decisions/0010.
"""

from __future__ import annotations

import duckdb

_CLAIMS = """
with given_up as (select * from base where merged_into is not null),
kept as (
    select base.* from base
    where merged_into is null and (hospital_id, patient_id) in (select (hospital_id, merged_into) from given_up)
),
claims as (
    select node, 'national_id|' || national_id as token, sex, birth_year from base where national_id is not null
    union all
    select node, 'upstream_pseudonym|' || upstream_pseudonym, sex, birth_year from base where upstream_pseudonym is not null
    union all
    select node, concat_ws('|', 'merge', hospital_id, coalesce(merged_into, patient_id)), null, null
    from (select * from given_up union all select * from kept)
),
judged as (
    select token, count(*) as members, count(distinct sex) <= 1 and count(distinct birth_year) <= 1 as agrees
    from claims group by token
)
select claims.node, claims.token, judged.members, judged.agrees from claims inner join judged using (token)
"""

_FOLLOWING = """
with tokens as (select token, min(label) as label from edges inner join labels using (node) group by token)
select node, min(label) as label from edges inner join tokens using (token) group by node
"""

_MAPPED = """
with method as (
    select
        node,
        max(split_part(token, '|', 1)) filter (where agrees and members > 1) as linked,
        bool_or(not agrees) as refused
    from claims group by node
)
select
    base.hospital_id,
    base.patient_id,
    md5(coalesce(labels.label, 'local|' || base.node)) as patient_key,
    coalesce(method.linked, case when method.refused then 'conflict' end, 'none') as link_method
from base left join labels using (node) left join method using (node)
order by base.hospital_id, base.patient_id
"""


def patient_map(connection: duckdb.DuckDBPyConnection, patients: str) -> duckdb.DuckDBPyRelation:
    """The patient map, as a relation of the connection in order of hospital_id, patient_id; temporary tables of it are replaced.

    Args:
        patients: SQL of a relation with one row per (hospital_id, patient_id), with sex, birth_date, national_id, upstream_pseudonym
            (pseudonyms or null) and merged_into (the local id that the hospital merged this one into, or null).

    Returns:
        hospital_id, patient_id, patient_key (32 hex digits), link_method: national_id, upstream_pseudonym, merge (by the hospital alone),
        conflict (a link that its patients' sex or birth year forbids) or none. Same input, same keys, whatever the order of rows.
    """
    _table(
        connection,
        "base",
        "select concat_ws('|', hospital_id, patient_id) as node, hospital_id, patient_id, sex, year(birth_date) as birth_year, "
        f"national_id, upstream_pseudonym, merged_into from {patients}",
    )
    _table(connection, "claims", _CLAIMS)
    _table(connection, "edges", "select node, token from claims where agrees")
    # label propagation: each node takes the smallest token that it reaches, until nothing changes
    _table(connection, "labels", "select node, min(token) as label from edges group by node")
    moved = _any(connection, "select 1 from edges group by node having count(*) > 1")
    while moved:
        _table(connection, "following", _FOLLOWING)
        moved = _any(
            connection, "select 1 from following as f inner join labels as l using (node) where f.label <> l.label"
        )
        connection.execute("drop table labels; alter table following rename to labels")
    return connection.sql(_MAPPED)


def _table(connection: duckdb.DuckDBPyConnection, name: str, query: str) -> None:
    connection.execute(f"create or replace temp table {name} as {query}")


def _any(connection: duckdb.DuckDBPyConnection, query: str) -> bool:
    return connection.execute(f"{query} limit 1").fetchone() is not None
