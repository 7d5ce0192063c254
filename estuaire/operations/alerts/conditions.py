"""What needs a hand now: conditions as functions of the ledger, the disks, the registry and the settings; nothing is written.

Grain of each: one ``Alert`` per subject (a run, a delivery, a hospital, a disk). A condition that ends is simply found no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from shlex import quote  # a delivery's name is a folder's: whoever copies a command runs no other
from typing import Any

from estuaire.base.display_text import shown
from estuaire.base.errors import ErrorFields, EstuaireError, explained_errors
from estuaire.base.settings import Settings
from estuaire.base.texts import say
from estuaire.report import files, serving
from estuaire.runs import current_state as standing_now
from estuaire.storage import error_columns, held_hospitals
from estuaire.storage.ledger import fetch
from estuaire.storage.platform import Platform

_GIB = 2**30
_LONGEST = 600  # characters of a sentence: an error may name a hundred rules
_HYSTERESIS = (
    1.1  # a disk that was told of is well again this much above its threshold, so that one at the brink is told of once
)


@dataclass(frozen=True)
class Alert:
    """One condition. ``since``: when it began, as the ledger tells it. ``kind`` and ``subject`` are what it is known by."""

    kind: str
    subject: str
    severity: str
    since: datetime
    title: str
    what: str
    remedy: str
    link: str


Standing = frozenset[tuple[str, str]]  # (kind, subject) of what was found before and has not ended
Condition = Callable[[Platform, datetime, Standing], list[Alert]]


# of each kind; what it says are the messages alert.<kind>.title, .what (where the ledger holds no typed error) and .remedy
SEVERITIES = {
    "run_failed": "error",
    "delivery_blocked": "warning",
    "delivery_held": "warning",
    "hospital_blocked": "warning",
    "hospital_late": "warning",
    "run_stalled": "error",
    "disk_filling": "error",
    "store_filling": "warning",
    "database_filling": "warning",
    "release_old": "warning",
    "check_failed": "error",
}


def title(kind: str, language: str) -> str:
    """What a kind of condition is called."""
    return say(language, f"alert.{kind}.title")


def find(platform: Platform, now: datetime, standing: Standing = frozenset()) -> tuple[list[Alert], set[str]]:
    """Everything that needs a hand, and the kinds that could not be looked at: what was known of those still stands."""
    alerts: list[Alert] = []
    unknown: set[str] = set()
    for condition, kinds in CONDITIONS.items():
        try:
            alerts += condition(platform, now, standing)
        except Exception as error:  # noqa: BLE001 - one that cannot be looked at does not keep the others from being told
            said = error.what if isinstance(error, EstuaireError) else type(error).__name__
            name = condition.__name__
            alerts.append(_made(platform.settings, "check_failed", name, now, check=name, message=said))
            unknown |= set(kinds)
    return alerts, unknown


def _made(
    settings: Settings,
    kind: str,
    subject: str,
    since: datetime,
    *,
    page: str | None = None,
    remedy: str = "",
    **facts: Any,
) -> Alert:
    """A condition in the settings' language.

    Args:
        page: the run whose report shows it.
        remedy: the one that the ledger holds, instead of the kind's own.
    """
    facts = {name: shown(str(value)) for name, value in facts.items()}
    return Alert(
        kind=kind,
        subject=shown(subject),
        severity=SEVERITIES[kind],
        since=since,
        title=title(kind, settings.language),
        what=_short(say(settings.language, f"alert.{kind}.what", **facts)),
        remedy=_short(shown(remedy) or say(settings.language, f"alert.{kind}.remedy", **facts)),
        link=link(settings, page),
    )


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 4].rstrip() + " ..."


def link(settings: Settings, run: str | None = None) -> str:
    """The page that shows it: the run's report where there is one, else the latest."""
    named = f"{run}.html"
    name = named if run and (files.folder(settings) / named).is_file() else files.LATEST
    base = settings.alert_page_url.rstrip("/")
    return f"{base}{serving.PREFIX}/reports/{name}" if base else serving.address(settings, name)


def _told(settings: Settings, error: ErrorFields | None, note: str = "") -> tuple[str, str]:
    """(what, remedy) of a note and an error of the ledger; of an error that a delivery can meet in the settings' language."""
    if error is None:
        return note, ""
    what = f"{note}: {error.statement()}" if note else error.statement()
    if settings.language == "fr" and error.code in explained_errors():
        told, remedy = (say("fr", f"refusal.{error.code}.{part}") for part in ("what", "remedy"))
        return f"[{error.code}] {told} ({what})", remedy
    return what, error.remedy.rstrip(".")


# ------------------------------------------------------------------------------------------------ runs


def failed_runs(platform: Platform, now: datetime, standing: Standing) -> list[Alert]:
    """Runs that failed, until a later run of the same DAG ends well."""
    alerts = []
    for r in standing_now.failed_runs(partial(fetch, platform.database)):
        message, remedy = _told(platform.settings, error_columns.read(r), r["message"] or "")
        alerts.append(
            _made(
                platform.settings, "run_failed", r["run_id"], r["ended_at"] or now, page=r["root"], remedy=remedy,
                run=r["run_id"], dag=r["dag_id"], message=message or "-",
            )
        )  # fmt: skip
    return alerts


def stalled_runs(platform: Platform, now: datetime, standing: Standing) -> list[Alert]:
    """Runs under way of which nothing was noted for longer than ``alert_stalled_minutes``: no stage began, got on (``estuaire.base.progress``)
    or ended. One that a later run of its DAG has left behind is over."""
    patience = timedelta(minutes=platform.settings.alert_stalled_minutes)
    return [
        _made(
            platform.settings, "run_stalled", r["run_id"], r["noted"], page=r["root"], run=r["run_id"], dag=r["dag_id"],
            minutes=int((now - r["noted"]).total_seconds() // 60), stage=r["stage"] or "-",
        )
        for r in standing_now.runs_under_way(partial(fetch, platform.database))
        if now - r["noted"] > patience
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------ deliveries and hospitals


def _deliveries(platform: Platform, kind: str, states: tuple[str, ...]) -> list[Alert]:
    alerts = []
    for r in standing_now.unresolved_deliveries(partial(fetch, platform.database), states):
        place = f"{r['hospital_id']}/{r['delivery_id']}"
        message, remedy = _told(platform.settings, error_columns.read(r))
        alerts.append(
            _made(
                platform.settings, kind, place, r["updated_at"], page=r["run_id"], remedy=remedy,
                message=message or r["error_code"], place=quote(place),
            )
        )  # fmt: skip
    return alerts


def blocked_deliveries(platform: Platform, now: datetime, standing: Standing) -> list[Alert]:
    """Deliveries that were refused, could not be landed, or came again with other bytes."""
    return _deliveries(platform, "delivery_blocked", standing_now.BLOCKED)


def held_deliveries(platform: Platform, now: datetime, standing: Standing) -> list[Alert]:
    """Full deliveries that wait for a confirmation."""
    return _deliveries(platform, "delivery_held", standing_now.HELD)


def blocked_hospitals(platform: Platform, now: datetime, standing: Standing) -> list[Alert]:
    """Hospitals whose newest records are not in use: by the consolidation's gate, a stage that set them aside, gates 3 and 4 (the served
    release holds them back), or their own entry in the registry. Subject: hospital and where."""
    ask = partial(fetch, platform.database)
    rows = [
        (f"{r['hospital_id']} ({r['stage']})", r["since"], error_columns.read(r), "", r["run_id"])
        for r in standing_now.stopped_hospitals(ask)
    ]
    for r in standing_now.served_release(ask):
        rows += [
            (f"{hospital} (publish)", r["published_at"], None, one.note(hospital), r["run_id"])
            for hospital, one in held_hospitals.read(r["held_back"]).items()
        ]
    rows += [
        (f"{hospital} (registry)", now, error.fields, "", None)
        for hospital, error in sorted(platform.registry.wrong.items())
    ]
    alerts = []
    for subject, since, error, note, run in rows:
        message, said = _told(platform.settings, error, note)
        alerts.append(
            _made(platform.settings, "hospital_blocked", subject, since, page=run, remedy=said, message=message)
        )
    return alerts


def late_hospitals(platform: Platform, now: datetime, standing: Standing) -> list[Alert]:
    """Hospitals with a rhythm in the registry whose last delivery, whatever became of it, is older than that and the grace. One that has
    not delivered yet is on its way in, and not late."""
    registry = platform.registry
    alerts = []
    for one in standing_now.rhythms(
        partial(fetch, platform.database), registry, now, platform.settings.alert_late_grace_days
    ):
        hospital = registry.hospitals[one.hospital]
        if one.late:
            alerts.append(
                _made(
                    platform.settings, "hospital_late", one.hospital, one.due, hospital=one.hospital, name=hospital.name,
                    rhythm=hospital.rhythm_days, days=(now - one.last).days, contact=hospital.contact,
                )
            )  # fmt: skip
    return alerts


# ------------------------------------------------------------------------------------------------ space


def filling_disks(platform: Platform, now: datetime, standing: Standing) -> list[Alert]:
    """Disks of the platform's folders with less than ``alert_disk_free_gib`` free; each disk once."""
    wanted, alerts = platform.settings.alert_disk_free_gib, []
    for name, folder, _, free_bytes in standing_now.disks(platform.settings):
        free = free_bytes / _GIB
        if free < wanted * (_HYSTERESIS if ("disk_filling", name) in standing else 1):
            alerts.append(
                _made(
                    platform.settings, "disk_filling", name, now, free=f"{free:.1f}", path=folder, wanted=f"{wanted:g}"
                )
            )
    return alerts


def filling_store(platform: Platform, now: datetime, standing: Standing) -> list[Alert]:
    """The store, where landing's files (as the manifests declare them) and the lake's are more than ``alert_store_gib``; 0: never told. A
    bucket does not tell how much room it has left."""
    if not platform.settings.alert_store_gib:
        return []
    ask = partial(fetch, platform.database)
    held = standing_now.landing_bytes(ask) + standing_now.lake_bytes(ask)
    return _beyond(platform.settings, "store_filling", "store", now, held / _GIB, platform.settings.alert_store_gib)


def filling_database(platform: Platform, now: datetime, standing: Standing) -> list[Alert]:
    """The warehouse's database, where it is larger than ``alert_database_gib``; 0: never told."""
    if not platform.settings.alert_database_gib:
        return []
    held = standing_now.database_bytes(partial(fetch, platform.database))
    return _beyond(
        platform.settings, "database_filling", "database", now, held / _GIB, platform.settings.alert_database_gib
    )


def _beyond(settings: Settings, kind: str, subject: str, now: datetime, held: float, wanted: float) -> list[Alert]:
    if held <= wanted:
        return []
    return [_made(settings, kind, subject, now, held=f"{held:.1f}", wanted=f"{wanted:g}")]


# ------------------------------------------------------------------------------------------------ freshness


def old_release(platform: Platform, now: datetime, standing: Standing) -> list[Alert]:
    """The served release, where it was published more than ``alert_release_days`` ago; 0: never told."""
    rows = standing_now.served_release(partial(fetch, platform.database))
    limit = timedelta(days=platform.settings.alert_release_days)
    return [
        _made(
            platform.settings, "release_old", f"release {r['release_id']}", r["published_at"] + limit, page=r["run_id"],
            release=r["release_id"], days=(now - r["published_at"]).days,
        )
        for r in rows
        if limit and now - r["published_at"] > limit
    ]  # fmt: skip


# each condition, and the kinds that it finds
CONDITIONS: dict[Condition, tuple[str, ...]] = {
    failed_runs: ("run_failed",),
    stalled_runs: ("run_stalled",),
    blocked_deliveries: ("delivery_blocked",),
    held_deliveries: ("delivery_held",),
    blocked_hospitals: ("hospital_blocked",),
    late_hospitals: ("hospital_late",),
    filling_disks: ("disk_filling",),
    filling_store: ("store_filling",),
    filling_database: ("database_filling",),
    old_release: ("release_old",),
}


def today() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)
