"""What one part of an upkeep did, and from when on something is old."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from estuaire.base.settings import Settings

GRACE = timedelta(days=7)  # longer than the longest job: what a stage may still read or be about to register stays


@dataclass(frozen=True)
class Part:
    """``count``: of what ``said`` tells in words; ``bytes``: freed, or to be freed."""

    name: str
    count: int
    bytes: int
    said: str


def grace(settings: Settings) -> timedelta:
    """How long a file stays after nothing names it any more: seven days, and always a day longer than a task may take."""
    return max(GRACE, _longest_task(settings))


def log_age(settings: Settings) -> timedelta:
    """How long a log stays after its last line: never less than a task may go on without a word."""
    return max(timedelta(days=settings.keep_logs_days), _longest_task(settings))


def _longest_task(settings: Settings) -> timedelta:
    return timedelta(hours=settings.task_hours) + timedelta(days=1)


def plural(count: int, one: str, many: str | None = None) -> str:
    """A number with its word."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def before(now: datetime, days: float) -> datetime:
    """The moment so many days before."""
    return now - timedelta(days=days)
