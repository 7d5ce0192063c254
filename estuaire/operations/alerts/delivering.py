"""One check: what needs a hand is noted, one message per channel tells what is new, still stands or has ended, and what waits is sent.

A message is taken at least once: a process that is killed between the other side's answer and our note sends it again, under the same number.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import psycopg2.extras
from psycopg2.extensions import cursor as Cursor

from estuaire.base.alert_settings import check_settings, reached
from estuaire.base.settings import Settings
from estuaire.operations.alerts import conditions, messages
from estuaire.operations.alerts.channels import CHANNELS, NO_CHANNEL, UNFORESEEN, UNREACHABLE, Delivered
from estuaire.operations.alerts.conditions import Alert
from estuaire.storage.database import Database
from estuaire.storage.ledger import fetch
from estuaire.storage.platform import Platform

_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)


@dataclass(frozen=True)
class Checked:
    """What one check did. ``new``, ``repeated``, ``resolved``: conditions told of; the others: messages, each on one channel."""

    standing: int = 0
    new: int = 0
    repeated: int = 0
    resolved: int = 0
    sent: int = 0
    failed: int = 0
    given_up: int = 0

    def sentence(self) -> str:
        """One line for a log."""
        return (
            f"{self.standing} stand ({self.new} new, {self.repeated} told again, {self.resolved} resolved); "
            f"messages: {self.sent} sent, {self.failed} to be tried again, {self.given_up} given up"
        )


def check(platform: Platform, now: datetime | None = None) -> Checked:
    """Look at every condition, note what began and what ended, and deliver what there is to tell.

    Raises:
        AlertSettingsWrong: nothing was looked at.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    check_settings(platform.settings)
    now = now or conditions.today()
    events, standing = _note(platform, now)
    sent = deliver(platform, now)
    counted = {which: sum(one["event"] == which for one in events) for which in ("new", "standing", "resolved")}
    return Checked(standing, counted["new"], counted["standing"], counted["resolved"], *sent)


def standing(platform: Platform, now: datetime | None = None) -> list[dict[str, Any]]:
    """What needs a hand now, looked at anew, and when it was last told; nothing is written or sent."""
    now = now or conditions.today()
    known = {
        (r["kind"], r["subject"]): r
        for r in fetch(
            platform.database, "select kind, subject, since, told_at from control.alert where resolved_at is null"
        )
    }
    alerts, _ = conditions.find(platform, now, frozenset(known))
    rows = []
    for one in alerts:
        before = known.get((one.kind, one.subject), {"since": one.since, "told_at": None})
        moments = {
            name: moment.astimezone(UTC) if moment else None
            for name, moment in before.items()
            if name in ("since", "told_at")
        }
        rows.append({**vars(one), **moments})
    return rows


def undelivered(database: Database) -> list[dict[str, Any]]:
    """Messages that wait for another try, and those given up, newest first."""
    return fetch(
        database,
        "select message_id, channel, recipients, created_at, state, tries, case when state = 'waiting' then next_try end as next_try, "
        "error_code, status, jsonb_array_length(content -> 'events') as events from control.alert_message "
        "where state = 'given_up' or (state = 'waiting' and tries > 0) order by message_id desc limit 100",
    )


# ------------------------------------------------------------------------------------------------ what there is to tell

_UPSERT = """
insert into control.alert (kind, subject, severity, since, first_seen, last_seen, what, remedy, link)
values (%(kind)s, %(subject)s, %(severity)s, %(since)s, %(now)s, %(now)s, %(what)s, %(remedy)s, %(link)s)
on conflict (kind, subject) where resolved_at is null do update set severity = excluded.severity, last_seen = excluded.last_seen,
    what = excluded.what, remedy = excluded.remedy, link = excluded.link
returning alert_id, kind, subject, severity, since, told_at, what, remedy, link
"""


def _note(platform: Platform, now: datetime) -> tuple[list[dict[str, str]], int]:
    """Write what was found; (events told of, how many conditions stand). While another check does so, nothing is done here."""
    settings = platform.settings
    with (
        platform.database.transaction() as connection,
        connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor,
    ):
        try:
            cursor.execute("lock table control.alert_lock in exclusive mode nowait")
        except psycopg2.errors.LockNotAvailable:
            connection.rollback()
            return [], 0
        cursor.execute("select kind, subject from control.alert where resolved_at is null")
        before = frozenset((str(r["kind"]), str(r["subject"])) for r in cursor.fetchall())
        alerts, unknown = conditions.find(platform, now, before)
        events, told = _standing_events(cursor, settings, alerts, now)
        events += _ended(cursor, settings, alerts, unknown, now)
        channels = reached(settings)
        if events and channels:
            content = {"language": settings.language, "others": max(len(alerts) - len(told), 0), "events": events}
            for channel, recipients in channels.items():
                cursor.execute(
                    "insert into control.alert_message (channel, recipients, created_at, content, next_try) values (%s, %s, %s, %s, %s)",
                    (channel, recipients, now, json.dumps(content, ensure_ascii=False), now),
                )
            cursor.execute("update control.alert set told_at = %s where alert_id = any(%s)", (now, told))
    return events, len(alerts)


def _standing_events(
    cursor: Cursor, settings: Settings, alerts: list[Alert], now: datetime
) -> tuple[list[dict[str, str]], list[int]]:
    """Events of what is new and of what has stood untold for ``alert_repeat_hours``, with the ids of their rows."""
    patience = timedelta(hours=settings.alert_repeat_hours)
    events, told = [], []
    for one in alerts:
        cursor.execute(_UPSERT, {**vars(one), "now": now})
        row: Any = cursor.fetchone()
        if row["told_at"] is None or now - row["told_at"] >= patience:
            which = "new" if row["told_at"] is None else "standing"
            events.append(messages.event(which, {**row, "title": one.title}))
            told.append(row["alert_id"])
    return events, told


def _ended(
    cursor: Cursor, settings: Settings, alerts: list[Alert], unknown: set[str], now: datetime
) -> list[dict[str, str]]:
    """Events of what is found no more and was told of; what nobody was told of ends without a word."""
    cursor.execute(
        "update control.alert set resolved_at = %s where resolved_at is null and not kind = any(%s) "
        "and not exists (select 1 from unnest(%s::text[], %s::text[]) f (kind, subject) "
        "where f.kind = alert.kind and f.subject = alert.subject) "
        "returning kind, subject, severity, since, told_at, what, remedy, link",
        (now, sorted(unknown), [f.kind for f in alerts], [f.subject for f in alerts]),
    )
    rows: Any = cursor.fetchall()
    return [
        messages.event("resolved", {**r, "title": conditions.title(r["kind"], settings.language)})
        for r in sorted(rows, key=lambda r: (r["kind"], r["subject"]))
        if r["told_at"] is not None
    ]


# ------------------------------------------------------------------------------------------------ delivery


def deliver(platform: Platform, now: datetime) -> tuple[int, int, int]:
    """Send what is due: (sent, to be tried again, given up). A message that another process sends just now is left to it. A channel that
    could not be reached is not tried again for the messages behind."""
    due = fetch(
        platform.database,
        "select message_id from control.alert_message where state = 'waiting' and next_try <= %s order by message_id",
        (now,),
    )
    away: dict[str, Delivered] = {}
    ends = [_deliver_one(platform, r["message_id"], now, away) for r in due]
    return ends.count("sent"), ends.count("waiting"), ends.count("given_up")


def _deliver_one(platform: Platform, message_id: int, now: datetime, away: dict[str, Delivered]) -> str | None:
    """One try of one message, which stays locked meanwhile; its state afterwards, None where another process has it."""
    with (
        platform.database.transaction() as connection,
        connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor,
    ):
        cursor.execute(
            "select * from control.alert_message where message_id = %s and state = 'waiting' and next_try <= %s "
            "for update skip locked",
            (message_id, now),
        )
        row: Any = cursor.fetchone()
        if row is None:
            return None
        channel = row["channel"]
        outcome = away.get(channel) or _send(platform.settings, row)
        if outcome.code == UNREACHABLE:
            away[channel] = outcome
        tries = row["tries"] + 1
        over = now - row["created_at"] >= timedelta(hours=platform.settings.alert_give_up_hours)
        state = "sent" if outcome.taken else "given_up" if over else "waiting"
        cursor.execute(
            "update control.alert_message set state = %s, tries = %s, next_try = %s, ended_at = %s, error_code = %s, status = %s "
            "where message_id = %s",
            (
                state, tries, now + pause(tries), None if state == "waiting" else now, outcome.code or None, outcome.status,
                message_id,
            ),
        )  # fmt: skip
    return state


def _send(settings: Settings, row: dict[str, Any]) -> Delivered:
    if row["channel"] not in reached(settings):
        return Delivered(False, NO_CHANNEL)  # it was switched off: tried until the limit, in case it comes back
    try:
        return CHANNELS[row["channel"]](settings, row["message_id"], row["content"])
    except Exception:  # noqa: BLE001 - one message that cannot be sent does not keep the others back; its words may hold an address
        return Delivered(False, UNFORESEEN)


def pause(tries: int) -> timedelta:
    """How long to wait after so many tries: a minute, two, four ... an hour at most."""
    return min(_FIRST_PAUSE * (1 << min(tries - 1, 20)), _LONGEST_PAUSE)
