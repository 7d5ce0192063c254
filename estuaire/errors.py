"""Typed errors. Each says what is wrong, where, and what to do next; none carries a patient's value.

A *permanent* error is never retried by Airflow (``retryable`` is false); a *retryable* one (a lost connection, a
server that restarts) is.
"""

from __future__ import annotations


class EstuaireError(Exception):
    """Base of every error that Estuaire raises on purpose.

    ``code`` is stable and is what the ledger, the logs and the hospital's report show.
    """

    code = "E_ESTUAIRE"
    retryable = False
    exit_code = 1  # of the command that ends with it

    def __init__(
        self,
        what: str,
        *,
        remedy: str,
        hospital: str | None = None,
        delivery: str | None = None,
        file: str | None = None,
        table: str | None = None,
    ) -> None:
        self.what = what
        self.remedy = remedy
        self.hospital = hospital
        self.delivery = delivery
        self.file = file
        self.table = table
        super().__init__(self.sentence())

    def sentence(self) -> str:
        """One line: code, place, what, remedy."""
        place = "/".join(p for p in (self.hospital, self.delivery) if p)
        parts = [f"[{self.code}]"]
        if place:
            parts.append(f"delivery {place}:")
        if self.file:
            parts.append(f"file {self.file}:")
        if self.table and not self.file:
            parts.append(f"table {self.table}:")
        parts.append(self.what.rstrip(".") + ".")
        parts.append("What to do: " + self.remedy.rstrip(".") + ".")
        # a folder's or file's name comes from outside: no control character reaches a terminal or a log
        return "".join(c if c.isprintable() else "?" for c in " ".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        # Spark pickles a task's exception: keyword-only arguments need this.
        return (_rebuild, (type(self), self.__dict__.copy()))


def _rebuild(kind: type[EstuaireError], state: dict[str, object]) -> EstuaireError:
    error = kind.__new__(kind)
    Exception.__init__(error, "")
    error.__dict__.update(state)
    error.args = (error.sentence(),)
    return error


class SetupError(EstuaireError):
    """The machine or the configuration cannot run the platform."""

    code = "E_SETUP"


class ContractError(EstuaireError):
    """A contract or registry file of this project is not valid."""

    code = "E_CONTRACT"


class ManifestMissing(EstuaireError):
    """A delivery folder has no manifest.json."""

    code = "E_MANIFEST_MISSING"


class ManifestInvalid(EstuaireError):
    """manifest.json is not JSON or does not follow its schema."""

    code = "E_MANIFEST_INVALID"


class UnknownHospital(EstuaireError):
    """The folder or the FINESS of a delivery names a hospital that the registry does not hold."""

    code = "E_UNKNOWN_HOSPITAL"


class ContractVersionUnknown(EstuaireError):
    """The delivery follows a contract version that the platform does not serve."""

    code = "E_CONTRACT_VERSION"


class PathOutsideDelivery(EstuaireError):
    """A manifest names a file outside its delivery folder."""

    code = "E_PATH_OUTSIDE"


class FileMissing(EstuaireError):
    """A file that the manifest names is not there."""

    code = "E_FILE_MISSING"


class ChecksumMismatch(EstuaireError):
    """A file's bytes are not the ones that the manifest declares."""

    code = "E_CHECKSUM"


class DeliveryChanged(EstuaireError):
    """A delivery id that was received before comes again with other bytes."""

    code = "E_DELIVERY_CHANGED"


class FileTruncated(EstuaireError):
    """A compressed file ends before its end mark, or is not what its dialect says."""

    code = "E_FILE_TRUNCATED"


class ColumnMissing(EstuaireError):
    """A required column is not in the file's header."""

    code = "E_COLUMN_MISSING"


class ColumnRetyped(EstuaireError):
    """A required column holds, in most of its records, values of another type than the contract's."""

    code = "E_COLUMN_RETYPED"


class RowCountMismatch(EstuaireError):
    """The manifest declares another number of records than the file holds."""

    code = "E_ROW_COUNT"


class TooManyRejected(EstuaireError):
    """More records were rejected than the gate accepts."""

    code = "E_REJECTED_RATE"


class GateBlocked(EstuaireError):
    """A gate's verdict for a delivery is block."""

    code = "E_GATE_BLOCKED"


class AccountingImbalance(EstuaireError):
    """Records or hash sums that came in are not those that went out: nothing is committed."""

    code = "E_ACCOUNTING"


class RowUidCollision(EstuaireError):
    """Two records got the same identity."""

    code = "E_ROW_UID"


class Fenced(EstuaireError):
    """A newer attempt of the same stage holds the fencing token: this one may not commit."""

    code = "E_FENCED"


class LakeInlined(EstuaireError):
    """The lake's catalog holds inlined rows: readers that list files would miss or resurrect rows."""

    code = "E_LAKE_INLINED"


class StoreUnavailable(EstuaireError):
    """The object store did not answer."""

    code = "E_STORE"
    retryable = True


class DatabaseUnavailable(EstuaireError):
    """PostgreSQL did not answer."""

    code = "E_DATABASE"
    retryable = True


class PublishFailed(EstuaireError):
    """The marts could not be built or did not pass: the last release stays served."""

    code = "E_PUBLISH"


class QueryRefused(EstuaireError):
    """A query that the analyst role may not run."""

    code = "E_QUERY"


class RunFailed(EstuaireError):
    """A pipeline run ended in failure."""

    code = "E_RUN"


class FollowingStopped(EstuaireError):
    """Ctrl-C: the display has stopped; a chain that was started goes on in Airflow."""

    code = "E_INTERRUPTED"
    exit_code = 130


class UnknownName(EstuaireError):
    """No run and no delivery has this name."""

    code = "E_UNKNOWN_NAME"


class NothingToRetry(EstuaireError):
    """Nothing of a run or delivery failed, or what failed cannot pass as it stands."""

    code = "E_NOTHING_TO_RETRY"
