"""What stands now, as rows: the one meaning of late, blocked, held back, failed and under way, for the alerts and for the metrics.

Reads only. ``Ask`` is how: each on a connection of its own (the alerts), or all in one transaction (the metrics).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from estuaire.base.settings import Settings
from estuaire.contract.registry import Registry
from estuaire.storage import error_columns

Row = dict[str, Any]
Ask = Callable[..., list[Row]]  # (sql, parameters) -> rows


def failed_runs(ask: Ask) -> list[Row]:
    """Runs that failed, until a later run of the same DAG ends well: run_id, dag_id, ended_at, message, the error's columns, root."""
    return ask(
        f"select run_id, dag_id, ended_at, message, {error_columns.COLUMNS}, coalesce(parent_run_id, run_id) as root from control.run r "
        "where state = 'failed' and not exists (select 1 from control.run l where l.dag_id = r.dag_id "
        "and l.state in ('success', 'nothing_new') and l.ended_at > r.ended_at) order by ended_at, run_id"
    )


def runs_under_way(ask: Ask) -> list[Row]:
    """Runs under way, and when something of each was last noted: a stage began, got on (``estuaire.base.progress``) or ended. One that a later
    run of its DAG has left behind is over. run_id, dag_id, root, stage, noted."""
    return ask(
        "select r.run_id, r.dag_id, coalesce(r.parent_run_id, r.run_id) as root, "
        "(array_agg(s.stage order by s.started_at desc))[1] as stage, "
        "greatest(r.started_at, max(s.started_at), max(s.noted_at), max(s.ended_at)) as noted "
        "from control.run r left join control.stage_run s using (run_id) where r.state = 'running' "
        "and not exists (select 1 from control.run l where l.dag_id = r.dag_id and l.started_at > r.started_at) "
        "group by r.run_id, r.dag_id, r.started_at, r.parent_run_id order by r.run_id"
    )


BLOCKED, HELD = (
    ("blocked", "received", "landed"),
    ("held",),
)  # refused, not to be landed, or come again with other bytes; to be confirmed


def unresolved_deliveries(ask: Ask, states: tuple[str, ...]) -> list[Row]:
    """Deliveries in error. A blocked or held one is over when one that came after it has landed and covers its tables and period: the
    correction. hospital_id, delivery_id, state, the error's columns, updated_at, run_id."""
    return ask(
        f"""
select hospital_id, delivery_id, state, {error_columns.COLUMNS}, updated_at, run_id from control.delivery d
where error_code is not null and state = any(%(states)s) and not exists (
    select 1 from control.delivery l where l.hospital_id = d.hospital_id and l.delivery_id <> d.delivery_id
    and l.state = 'landed' and l.error_code is null and l.received_at > d.received_at
    and (d.period_from is null or d.period_to is null or (l.period_from <= d.period_from and l.period_to >= d.period_to))
    and (d.manifest is null or not exists (
        select f ->> 'table' from jsonb_array_elements(d.manifest -> 'files') f
        except select f ->> 'table' from jsonb_array_elements(l.manifest -> 'files') f)))
order by hospital_id, sequence nulls last, delivery_id
""",
        {"states": list(states)},
    )


def stopped_hospitals(ask: Ask) -> list[Row]:
    """Hospitals whose newest records a gate of the consolidation, or a stage that set them aside, keeps out. hospital_id, stage, since,
    the error's columns, run_id; a hospital held back from the served release stands in ``served_release``."""
    return ask(
        f"select hospital_id, 'consolidated' as stage, blocked_at as since, {error_columns.COLUMNS}, run_id "
        f"from control.consolidation_block union all select hospital_id, stage, since, {error_columns.COLUMNS}, run_id "
        "from control.set_aside order by 1, 2"
    )


def served_release(ask: Ask) -> list[Row]:
    """The release that is served, if any: release_id, run_id, published_at, held_back."""
    return ask("select release_id, run_id, published_at, held_back from control.release where state = 'published'")


@dataclass(frozen=True)
class Rhythm:
    """When a hospital last delivered, whatever became of it, and by when its rhythm asks for the next; ``late`` from the grace on."""

    hospital: str
    last: datetime
    due: datetime
    late: bool


def rhythms(ask: Ask, registry: Registry, now: datetime, grace_days: float) -> list[Rhythm]:
    """Of each hospital with a rhythm that has delivered; one that has not yet is on its way in, and not late."""
    last = {
        r["hospital_id"]: r["last"]
        for r in ask(
            "select hospital_id, max(received_at) as last from control.delivery where state <> 'withdrawn' group by 1"
        )
    }
    hospital_rhythms = []
    for name, hospital in sorted(registry.hospitals.items()):
        if hospital.rhythm_days is not None and name in last:
            due = last[name] + timedelta(days=hospital.rhythm_days)
            hospital_rhythms.append(Rhythm(name, last[name], due, now > due + timedelta(days=grace_days)))
    return hospital_rhythms


def disks(settings: Settings) -> Iterator[tuple[str, Path, int, int]]:
    """Disks of the platform's folders, each once: (what it is known by, folder, bytes in all, bytes free)."""
    seen = set()
    folders = {"home": settings.root, "postgres": settings.postgres_data}
    if settings.store == "directory":
        folders["store"] = settings.store_path
    for name, folder in folders.items():
        there = next(p for p in (folder, *folder.parents) if p.exists())
        device = there.stat().st_dev
        if device not in seen:
            seen.add(device)
            usage = shutil.disk_usage(there)
            yield name, folder, usage.total, usage.free


def landing_bytes(ask: Ask) -> int:
    """Bytes of landing's files, as the manifests declare them."""
    [row] = ask(
        "select coalesce(sum((f ->> 'bytes')::numeric), 0)::bigint as bytes from control.delivery, "
        "jsonb_array_elements(manifest -> 'files') f where state <> 'withdrawn'"
    )
    return int(row["bytes"])


def has_catalog(ask: Ask) -> bool:
    """Whether the lake has been made."""
    [row] = ask("select to_regclass('lake.ducklake_data_file') is not null as there")
    return bool(row["there"])


def lake_bytes(ask: Ask) -> int:
    """Bytes of all files that the lake's catalog knows, those of older snapshots too."""
    if not has_catalog(ask):
        return 0
    [row] = ask("select coalesce(sum(file_size_bytes), 0)::bigint as bytes from lake.ducklake_data_file")
    return int(row["bytes"])


def database_bytes(ask: Ask) -> int:
    """Bytes of the warehouse's database."""
    [row] = ask("select pg_database_size(current_database()) as bytes")
    return int(row["bytes"])
