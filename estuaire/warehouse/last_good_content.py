"""The last good content of a hospital: the staging rows that the served release was built from, kept while staging holds newer ones.

The load stage keeps them (schema ``staging_served``, one table per staging table and hospital; ``control.kept_content`` says whose) when
it replaces a content that is served. Where gate 3 or 4 holds a hospital back, the candidate is built from ``MIXED``: views that show
staging, with a held hospital's rows from there, or without any where it was never published. Staging and ``control.load`` stay as loaded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from psycopg2 import sql

from estuaire.storage.held_hospitals import MIXED, SCHEMA, STAGING, Held

if TYPE_CHECKING:
    from psycopg2.extensions import connection, cursor

    from estuaire.warehouse.releases import Release

_REGISTRY, _PATIENT_MAP = "hospital", "patient_map"


def loaded(cur: cursor) -> dict[str, str]:
    """Hospital -> hash of the content that staging holds."""
    cur.execute("select hospital_id, content_hash from control.load order by 1")
    return {str(hospital): str(content) for hospital, content in cur.fetchall()}


def standing(cur: cursor, served: Release | None, judged_with: str) -> dict[str, Held]:
    """Hospitals that the served release holds back, whose content would be judged again just as it was: the same, by the same rules."""
    if served is None:
        return {}
    now = loaded(cur)
    return {
        hospital: one
        for hospital, one in served.held_back.items()
        if now.get(hospital) == one.refused and one.judged_with == judged_with and _available(cur, hospital, one.serves)
    }


def hold(
    cur: cursor, served: Release | None, judged_with: str, broken: Mapping[str, Mapping[str, list[str]]]
) -> dict[str, Held] | None:
    """The hospitals that broke rules, each with what stands in its place; None where one's last good content is not there.

    Args:
        broken: hospital -> gate -> reasons.
    """
    now = loaded(cur)
    held = {}
    for hospital, reasons in broken.items():
        if hospital not in now or (served is not None and served.contents is None):
            return None
        contents = {} if served is None else served.contents or {}
        serves = contents.get(hospital)
        before = served.held_back.get(hospital) if served is not None else None
        never = hospital not in contents
        if not never and (serves is None or serves == now[hospital] or not _available(cur, hospital, serves)):
            return None
        of_release = None if never or served is None else before.of_release if before else served.release_id
        plain = {stage: list(texts) for stage, texts in reasons.items()}
        held[hospital] = Held(now[hospital], judged_with, serves, of_release, plain)
    return held


def _available(cur: cursor, hospital: str, serves: str | None) -> bool:
    if serves is None:
        return True
    cur.execute("select 1 from control.kept_content where hospital_id = %s and content_hash = %s", (hospital, serves))
    return cur.fetchone() is not None


# ---------------------------------------------------------------- keeping, in the load stage's transaction
def keep_served(cur: cursor, hospitals: Collection[str]) -> list[str]:
    """Before ``hospitals`` are loaded anew: keep the rows of those whose content the served release was built from; their ids.

    Their partitions are detached and moved, not copied. In the caller's transaction, which has not replaced any of them yet.
    """
    # no publish reads what staging holds between our look and our commit: its release could be built from what we drop
    cur.execute("lock table control.load in share row exclusive mode")
    cur.execute("select contents from control.release where state = 'published'")
    row = cur.fetchone()
    contents: dict[str, str | None] = (row[0] if row else None) or {}
    now = loaded(cur)
    kept = [h for h in sorted(hospitals) if h in now and contents.get(h) == now[h]]
    if kept:
        _create_schema(cur)
    tables = _tables(cur)
    for hospital in kept:
        drop(cur, [hospital])
        for table, partitioned in tables.items():
            if table == _REGISTRY:
                continue
            kept_table = sql.Identifier(SCHEMA, f"{table}_{hospital}")
            if not partitioned:
                cur.execute(
                    sql.SQL("create table {} as select * from {} where hospital_id = %s").format(
                        kept_table, sql.Identifier(STAGING, table)
                    ),
                    (hospital,),
                )
                continue
            for partition in _partitions(cur, table, hospital):
                here = sql.Identifier(STAGING, partition)
                name = sql.Identifier(f"{table}_{hospital}")
                cur.execute(sql.SQL("alter table {} detach partition {}").format(sql.Identifier(STAGING, table), here))
                if partition != f"{table}_{hospital}":
                    cur.execute(sql.SQL("alter table {} rename to {}").format(here, name))
                cur.execute(
                    sql.SQL("alter table {} set schema {}").format(
                        sql.Identifier(STAGING, f"{table}_{hospital}"), sql.Identifier(SCHEMA)
                    )
                )
        cur.execute(
            "insert into control.kept_content (hospital_id, content_hash) values (%s, %s) on conflict (hospital_id) "
            "do update set content_hash = excluded.content_hash, kept_at = now()",
            (hospital, now[hospital]),
        )
    return kept


def drop(cur: cursor, hospitals: Iterable[str] | None = None) -> None:
    """Let go of what is kept of these hospitals, or of all."""
    cur.execute("select hospital_id from control.kept_content")
    known = {row[0] for row in cur.fetchall()}
    for hospital in sorted(known if hospitals is None else known & set(hospitals)):
        for table in _tables(cur):
            cur.execute(
                sql.SQL("drop table if exists {} cascade").format(sql.Identifier(SCHEMA, f"{table}_{hospital}"))
            )
        cur.execute("delete from control.kept_content where hospital_id = %s", (hospital,))


def tidy(session: connection) -> None:
    """After a publish: what the new release was not built from, or finds in staging itself, is dropped."""
    with session.cursor() as cur:
        # a load under way may be keeping what this very release serves: it holds this lock, and we look after it
        cur.execute("lock table control.load in share mode")
        cur.execute("select hospital_id, content_hash from control.kept_content")
        kept = dict(cur.fetchall())
        cur.execute("select coalesce(contents, '{}') from control.release where state = 'published'")
        row = cur.fetchone()
        contents = row[0] if row else {}
        now = loaded(cur)
        drop(cur, [h for h, content in kept.items() if contents.get(h) != content or now.get(h) == content])
    session.commit()


# ---------------------------------------------------------------- what a candidate is built from
def lay_out(session: connection, held: Mapping[str, Held]) -> str:
    """The schema that the models read: staging itself, or views over it with the held hospitals' last good rows."""
    if not held:
        return STAGING
    away = sorted(held)
    kept = [h for h in away if held[h].serves is not None]
    with session.cursor() as cur:
        cur.execute(sql.SQL("drop schema if exists {0} cascade; create schema {0}").format(sql.Identifier(MIXED)))
        every = _every_table(cur)
        for table, columns in every.items():
            listed = sql.SQL(", ").join(map(sql.Identifier, columns))
            source = sql.Identifier(STAGING, table)
            query = sql.SQL("select {} from {}").format(listed, source)
            if "hospital_id" in columns and table != _REGISTRY:
                query += sql.SQL(" where hospital_id <> all ({}::text[])").format(sql.Literal(away))
                for hospital in kept:
                    query += sql.SQL(" union all ") + _kept_rows(cur, table, hospital, listed)
            cur.execute(sql.SQL("create view {} as {}").format(sql.Identifier(MIXED, table), query))
    session.commit()
    return MIXED


def _kept_rows(cur: cursor, table: str, hospital: str, listed: sql.Composed) -> sql.Composed:
    """What one hospital is served from. Of the patient map the newest link of each person, so that no person is split over hospitals;
    the kept one where the newest map no longer knows the patient."""
    kept_table = sql.Identifier(SCHEMA, f"{table}_{hospital}")
    now = sql.SQL("select {} from {} where hospital_id = {}").format(
        listed, sql.Identifier(STAGING, table), sql.Literal(hospital)
    )
    cur.execute("select to_regclass(%s) is not null", (f"{SCHEMA}.{table}_{hospital}",))
    [present] = cur.fetchone() or [False]
    if not present:  # a table that this content did not hold
        return now + sql.SQL(" and false")
    cur.execute(sql.SQL("analyze {}").format(kept_table))
    kept = sql.SQL("select {} from {}").format(listed, kept_table)
    if table != _PATIENT_MAP:
        return kept
    # nobody whom only the refused content knows
    theirs = sql.SQL(" and patient_id in (select patient_id from {})").format(kept_table)
    unknown = sql.SQL(" where patient_id not in (select patient_id from {} where hospital_id = {})").format(
        sql.Identifier(STAGING, table), sql.Literal(hospital)
    )
    return now + theirs + sql.SQL(" union all ") + kept + unknown


# ---------------------------------------------------------------- staging as it is
def _every_table(cur: cursor) -> dict[str, list[str]]:
    """Table of staging (partitions apart) -> its columns."""
    cur.execute(
        "select c.relname, array_agg(a.attname::text order by a.attnum) from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped "
        "where n.nspname = %s and c.relkind in ('r', 'p') and not c.relispartition group by 1 order by 1",
        (STAGING,),
    )
    # a table that a load is filling, or left behind, is no partition yet; it bears a partitioned table's name and more
    columns_by_table = {str(name): list(columns) for name, columns in cur.fetchall()}
    parents = _partitioned(cur)
    return {
        name: columns for name, columns in columns_by_table.items() if name in parents or not _attempt(name, parents)
    }


def _attempt(name: str, parents: Collection[str]) -> bool:
    return any(name.startswith(f"{parent}_") and name.rpartition("_")[2].isdigit() for parent in parents)


def _partitioned(cur: cursor) -> set[str]:
    cur.execute(
        "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relkind = 'p'",
        (STAGING,),
    )
    return {str(row[0]) for row in cur.fetchall()}


def _tables(cur: cursor) -> dict[str, bool]:
    """Tables of staging that hold hospitals' rows -> whether they are partitioned."""
    parents = _partitioned(cur)
    return {name: name in parents for name, columns in _every_table(cur).items() if "hospital_id" in columns}


def _partitions(cur: cursor, table: str, hospital: str) -> list[str]:
    cur.execute(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid "
        "where i.inhparent = to_regclass(%s) and pg_get_expr(c.relpartbound, c.oid) = %s",
        (f"{STAGING}.{table}", f"FOR VALUES IN ('{hospital}')"),
    )
    return [str(row[0]) for row in cur.fetchall()]


def _create_schema(cur: cursor) -> None:
    cur.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(SCHEMA)))
    cur.execute(
        sql.SQL("comment on schema {} is {}").format(
            sql.Identifier(SCHEMA),
            sql.Literal("Rows that the served release was built from, of hospitals whose newer ones stand in staging"),
        )
    )
