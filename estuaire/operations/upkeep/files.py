"""Logs, run reports and Data Docs on this machine, by age. What a process is writing is put aside by size, never taken away from it."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from estuaire.base import private_files
from estuaire.base.settings import Settings
from estuaire.gates import docs
from estuaire.operations.upkeep.part import Part, before, log_age, plural
from estuaire.report import files as report_files
from estuaire.storage.platform import Platform


def logs(platform: Platform, now: datetime, dry_run: bool) -> list[Part]:
    """Put aside the logs of processes that have grown large, and remove what nobody has written to for ``log_age``: tasks' logs, those of
    publications, what was put aside. The log of a task that goes on has a younger line, or its task has passed its time."""
    settings = platform.settings
    parts = [_rotated(settings, now, dry_run)]
    moment = (now - log_age(settings)).timestamp()
    process_logs = set(settings.logs.glob("*.log"))  # a process holds them open: they are put aside, not removed
    old = [(path, size) for path, size in _older(settings.logs, moment) if path not in process_logs]
    folders = _old_folders(settings.logs, moment)
    if not dry_run:
        for path, _ in old:
            path.unlink(missing_ok=True)
        for folder in folders:  # deepest first; one that is not empty stays
            with suppress(OSError):
                folder.rmdir()
    parts.append(Part("logs", len(old), sum(size for _, size in old), plural(len(old), "log file")))
    return parts


def _rotated(settings: Settings, now: datetime, dry_run: bool) -> Part:
    """Each log of a process beyond the size: compressed beside it, then emptied. The process appends, so it goes on at the beginning; a
    line written between the last one read and the emptying (microseconds) is lost."""
    count = freed = 0
    for path in sorted(settings.logs.glob("*.log")):
        size = path.stat(follow_symlinks=False).st_size
        if path.is_symlink() or size < settings.rotate_logs_mib * 2**20:
            continue
        count += 1
        if dry_run:
            continue  # what compressing frees is known when it is done
        aside = path.with_name(f"{path.name}.{now:%Y-%m-%dT%H-%M-%S-%f}.gz")
        private_files.new_file(aside)
        with path.open("r+b") as source, gzip.open(aside, "wb", compresslevel=6) as target:
            shutil.copyfileobj(source, target, 1 << 20)
            source.truncate(0)
        freed += size - aside.stat().st_size
    return Part(
        "rotated logs", count, max(0, freed), plural(count, "log of a process put aside", "logs of processes put aside")
    )


def reports(platform: Platform, now: datetime, dry_run: bool) -> list[Part]:
    """Remove run reports and Data Docs that are older than ``keep_reports_days``; the latest report stays, and any can be written again from
    the ledger (`estuaire report RUN`)."""
    moment = before(now, platform.settings.keep_reports_days).timestamp()
    pages = [
        (path, size)
        for path, size in _older(report_files.folder(platform.settings), moment)
        if path.name != report_files.LATEST
    ]
    runs = []
    top = platform.settings.root / docs.FOLDER
    for folder in sorted(top.iterdir()) if top.is_dir() else []:
        if folder.is_symlink() or not folder.is_dir():
            continue
        held = list(_files(folder))
        if max([status.st_mtime for _, status in held], default=folder.stat().st_mtime) < moment:
            runs.append((folder, sum(status.st_size for _, status in held)))
    if not dry_run:
        for path, _ in pages:
            path.unlink(missing_ok=True)
        for folder, _ in runs:
            shutil.rmtree(folder, ignore_errors=True)
    return [
        Part("reports", len(pages), sum(size for _, size in pages), plural(len(pages), "run report")),
        Part("data docs", len(runs), sum(size for _, size in runs), f"Data Docs of {plural(len(runs), 'run')}"),
    ]


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Files and links below a folder; no link is followed."""
    for above, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(above) / name
            with suppress(FileNotFoundError):
                yield path, path.stat(follow_symlinks=False)


def _older(folder: Path, moment: float) -> list[tuple[Path, int]]:
    return [(path, status.st_size) for path, status in _files(folder) if status.st_mtime < moment]


def _old_folders(folder: Path, moment: float) -> list[Path]:
    """Folders below it in which nothing has been made or removed since a moment, the deepest first: no process is about to write into them."""
    old_folders = []
    for above, names, _ in os.walk(folder, topdown=False):
        for name in names:
            path = Path(above) / name
            with suppress(FileNotFoundError):
                if not path.is_symlink() and path.stat().st_mtime < moment:
                    old_folders.append(path)
    return old_folders
