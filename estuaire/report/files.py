"""Where reports are kept: ``<home>/reports/<run>.html``, ``latest.html`` beside them. Mode 0600 in a 0700 folder.

A report names hospitals and what went wrong there: on a shared machine it is not for every account. Analysts and stewards read it
behind Airflow's login (``serving``).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import structlog

from estuaire.base import private_files
from estuaire.base.errors import EstuaireError
from estuaire.base.settings import Settings
from estuaire.storage.platform import Platform

_log = structlog.get_logger(__name__)
LATEST = "latest.html"


def folder(settings: Settings) -> Path:
    """Where this installation's reports are."""
    return settings.root / "reports"


def build(platform: Platform, run: str | None = None) -> Path:
    """Write the report of a run (default: the latest), and make it the latest one where the run is.

    Raises:
        UnknownName: no run has this name.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    from estuaire.report import data, marts, page
    from estuaire.runs.explain import resolve

    run_data = data.read(platform, run)
    html = page.render(run_data, marts.read(platform), datetime.now(UTC))
    path = folder(platform.settings) / f"{run_data.run_id}.html"
    private_files.closed_folder(path.parent)
    private_files.replace(path, html)
    if resolve(platform.database, None).name == run_data.run_id:
        private_files.replace(folder(platform.settings) / LATEST, html)
    return path


def build_quietly(platform: Platform, run: str, *, unless_newer_than: datetime | None = None) -> Path | None:
    """``build`` for the end of a run: a report that fails is a warning in the log, never the run's failure.

    Args:
        run: one of the chain's runs. Where it goes on (a task that is tried again), nothing is written.
        unless_newer_than: a report written after this moment is taken as it is.
    """
    from estuaire.storage import ledger

    try:
        rows = ledger.fetch(
            platform.database,
            "select coalesce(parent_run_id, run_id) as root, ended_at from control.run where run_id = %s",
            (run,),
        )
        if not rows or rows[0]["ended_at"] is None:
            return None
        there = folder(platform.settings) / f"{rows[0]['root']}.html"
        if unless_newer_than and there.exists() and there.stat().st_mtime > unless_newer_than.timestamp():
            return there
        return build(platform, run)
    except EstuaireError as error:
        _log.warning("report_not_written", run_id=run, code=error.code, remedy=error.remedy)
    except Exception as error:  # noqa: BLE001 - whatever it is, the run has ended as it has; its text may hold a value
        _log.warning("report_not_written", run_id=run, code="E_REPORT", error=type(error).__name__,
                     remedy="`ESTUAIRE_DEBUG=1 estuaire report` shows why")  # fmt: skip
    return None
