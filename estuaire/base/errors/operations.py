"""Backup, restore and upkeep."""

from __future__ import annotations

from estuaire.base.errors.root import EstuaireError


class BackupUnusable(EstuaireError):
    """A backup is incomplete or damaged, of a newer version, or what is to be backed up is."""

    code = "E_BACKUP"


class RestoreRefused(EstuaireError):
    """The platform to restore into is not empty, or still runs."""

    code = "E_RESTORE"


class UpkeepBusy(EstuaireError):
    """An upkeep or a backup is under way; two would be in each other's way."""

    code = "E_UPKEEP_BUSY"
    retryable = True


class UpkeepFailed(EstuaireError):
    """Parts of an upkeep did not end well; the others are done."""

    code = "E_UPKEEP"
