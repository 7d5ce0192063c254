"""`estuaire upkeep`: what a platform that runs for years must put away, part by part; what was freed stands in ``control.upkeep``.

A part that fails does not keep the others from being done. Landing is never touched: it is the only place where rejected records stand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from estuaire.base.errors import ErrorFields, EstuaireError, UpkeepFailed
from estuaire.operations.upkeep import lock
from estuaire.operations.upkeep.part import Part
from estuaire.storage.platform import Platform

Report = Callable[[str], None]


@dataclass
class Upkept:
    """What an upkeep did, or (``dry_run``) would do. ``failed``: part -> what went wrong."""

    dry_run: bool
    parts: list[Part] = field(default_factory=list)
    failed: dict[str, ErrorFields] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Freed, or to be freed."""
        return sum(part.bytes for part in self.parts)

    def sentence(self) -> str:
        """One line for people and the ledger."""
        told = "; ".join(part.said for part in self.parts if part.count) or "nothing to put away"
        freed = f"{'would free' if self.dry_run else 'freed'} {self.bytes / 2**20:,.1f} MiB"
        failed = "".join(f"; {name} failed: {error.sentence()}" for name, error in self.failed.items())
        return f"{told}; {freed}{failed}"

    def as_dict(self) -> dict[str, Any]:
        """For the ledger: errors as their fields."""
        return {
            "parts": [{"part": p.name, "count": p.count, "bytes": p.bytes, "said": p.said} for p in self.parts],
            "failed": {name: asdict(error) for name, error in self.failed.items()},
        }

    def told(self) -> dict[str, Any]:
        """For machines that show it to people: errors as their sentences."""
        return self.as_dict() | {"failed": {name: error.sentence() for name, error in self.failed.items()}}


def run(platform: Platform, *, dry_run: bool = False, report: Report = lambda _: None) -> Upkept:
    """Do each part in turn.

    Args:
        dry_run: only look, and tell what would be done.

    Raises:
        UpkeepBusy: another upkeep or a backup is under way.
        UpkeepFailed: a part failed; the others are done and noted.
        DatabaseUnavailable.
    """
    from estuaire.operations.upkeep import database, files, lake, warehouse

    began, done = datetime.now(UTC), Upkept(dry_run)
    work = (
        ("snapshots of the lake", lake.snapshots),
        ("files of the lake", lake.files),
        ("files that nobody knows", lake.orphans),
        ("the warehouse", warehouse.leftovers),
        ("logs", files.logs),
        ("reports", files.reports),
        ("Airflow's runs", database.airflow_runs),
        ("vacuum", database.vacuum),
    )
    with lock.alone(platform.database):
        for name, part in work:
            report(name)
            try:
                done.parts += part(platform, began, dry_run)
            except EstuaireError as error:
                done.failed[name] = error.fields
            except Exception as error:  # noqa: BLE001 - the next part is done all the same; its text may hold a value
                done.failed[name] = ErrorFields("", type(error).__name__, "")
        if not dry_run:
            lock.note(
                platform.database,
                "upkeep",
                began,
                succeeded=not done.failed,
                freed=done.bytes,
                done=done.as_dict(),
                message=done.sentence(),
            )
    if done.failed:
        raise UpkeepFailed(
            done.sentence(), remedy="mend what is named, then run `estuaire upkeep` again; the other parts are done"
        )
    return done
