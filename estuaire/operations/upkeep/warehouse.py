"""What a publication that was killed left in the warehouse: candidate schemas, and archives beyond those that are kept.

Every publication tidies both; where none follows for long (nothing is delivered), they would stay.
"""

from __future__ import annotations

from datetime import datetime

from estuaire.operations.upkeep.part import Part, plural
from estuaire.storage.platform import Platform
from estuaire.warehouse import releases

_SIZE = (
    "select n.nspname, coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_namespace n "
    "left join pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'm') where n.nspname = any(%s) group by 1"
)


def leftovers(platform: Platform, now: datetime, dry_run: bool) -> list[Part]:
    """Drop them; while a publication is under way nothing is, since it will do so itself."""
    try:
        with releases.only_publisher(platform.database), releases.connect(platform.database) as session:
            with session.cursor() as cur:
                archived = [r.release_id for r in releases.releases_of(cur) if r.archive_schema is not None]
                beyond = [f"{s}_r{number}" for number in archived[releases.KEPT_ARCHIVES :] for s in releases.SCHEMAS]
                cur.execute(_SIZE, ([*releases.CANDIDATES, *beyond],))
                size_by_schema = dict(cur.fetchall())
            session.rollback()
            if not dry_run:
                releases.drop_candidate(session)
                releases.prune(platform.database)
    except releases.MartsBusy:
        return [Part("schemas", 0, 0, "a publication is under way: it tidies itself")]
    return [
        Part(
            "schemas",
            len(size_by_schema),
            sum(size_by_schema.values()),
            f"{plural(len(size_by_schema), 'schema')} of publications that were ended",
        )
    ]
