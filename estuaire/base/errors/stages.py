"""What stops a stage of the pipeline, a run, or a question about one."""

from __future__ import annotations

from estuaire.base.errors.root import EstuaireError


class AccountingImbalance(EstuaireError):
    """Records or hash sums that came in are not those that went out: nothing is committed."""

    code = "E_ACCOUNTING"


class RowUidCollision(EstuaireError):
    """Two records got the same identity."""

    code = "E_ROW_UID"


class Fenced(EstuaireError):
    """A newer attempt of the same stage holds the fencing token: this one may not commit."""

    code = "E_FENCED"

    @classmethod
    def of(cls, stage: str) -> Fenced:
        """The error of an attempt of this stage."""
        return cls(
            f"a newer attempt of stage {stage} has begun; this one may not commit",
            remedy="nothing to do: the newer attempt goes on",
        )


class LedgerRefused(EstuaireError):
    """The ledger cannot take the rows of what a hospital would commit, or has committed, to the lake."""

    code = "E_LEDGER_REFUSED"


class LakeFileUnreadable(EstuaireError):
    """A Parquet file of the lake is lost or damaged."""

    code = "E_LAKE_FILE"


class LakeInlined(EstuaireError):
    """The lake's catalog holds inlined rows: readers that list files would miss or resurrect rows."""

    code = "E_LAKE_INLINED"


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
