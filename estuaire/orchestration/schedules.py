"""When the DAGs run by themselves, and how long their tasks may take; all by settings."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, AssetWatcher, CronTriggerTimetable
from airflow.sdk.definitions.timetables.assets import AssetOrTimeSchedule

from estuaire.base import alert_settings
from estuaire.base.run_names import DELIVERIES_ASSET, TIMEZONE
from estuaire.base.settings import Settings
from estuaire.orchestration.arrivals import DeliveriesArrived

QUICK = timedelta(minutes=15)  # of a task that reads the ledger
SCAN = timedelta(hours=2)  # of one that lists and reads what stands in landing/


def task_defaults(settings: Settings) -> dict[str, Any]:
    """Arguments of each task that does not name its own: two more tries, and an end to each."""
    return {
        "retries": 2,
        "retry_delay": timedelta(seconds=10),
        "execution_timeout": timedelta(hours=settings.task_hours),
    }


def ingest_schedule(settings: Settings) -> Any:
    """What starts the ingest DAG: deliveries that arrive, the clock at night, both, or (None) only a person."""
    arrived = Asset(
        DELIVERIES_ASSET, watchers=[AssetWatcher("landing", trigger=DeliveriesArrived(every=settings.watch_seconds))]
    )
    nightly = settings.nightly.strip()
    clock = CronTriggerTimetable(nightly, timezone=TIMEZONE) if nightly else None
    if settings.watch_landing:
        return AssetOrTimeSchedule(timetable=clock, assets=[arrived]) if clock else [arrived]
    return clock


def watch_schedule(settings: Settings) -> Any:
    """How often the platform is looked at for what needs a hand: every five minutes where somebody is to be told, else never by itself.

    Raises:
        AlertSettingsWrong: a setting of the alerts is wrong.
    """
    alert_settings.check_settings(settings)
    return CronTriggerTimetable("*/5 * * * *", timezone=TIMEZONE) if alert_settings.reached(settings) else None


def upkeep_schedule(settings: Settings) -> Any:
    """When old things are put away: as the settings say, or (None) only when a person asks."""
    when = settings.upkeep.strip()
    return CronTriggerTimetable(when, timezone=TIMEZONE) if when else None
