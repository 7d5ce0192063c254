"""The object store, PostgreSQL or a disk does not answer, refuses or is full."""

from __future__ import annotations

from estuaire.base.errors.root import EstuaireError


class StoreUnavailable(EstuaireError):
    """The object store did not answer."""

    code = "E_STORE"
    retryable = True


class StoreRefused(EstuaireError):
    """The object store answered, and refused: its address, keys, bucket or policy are not right."""

    code = "E_STORE_REFUSED"


class DatabaseUnavailable(EstuaireError):
    """PostgreSQL did not answer."""

    code = "E_DATABASE"
    retryable = True


class DiskFull(EstuaireError):
    """There is no space left for a file of the store or of a task."""

    code = "E_DISK_FULL"
    retryable = True


class DatabaseFull(EstuaireError):
    """PostgreSQL has no space left."""

    code = "E_DATABASE_FULL"
    retryable = True


class StoreNotWritable(EstuaireError):
    """A folder of the platform is read-only, or not this account's."""

    code = "E_NOT_WRITABLE"
