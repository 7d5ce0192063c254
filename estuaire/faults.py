"""Points at which a test lets a stage fail or die: the boundaries of each step, before and after its effect.

Empty outside tests: ``reach`` then looks into an empty dictionary. tests/integration/test_faults.py runs every point.
"""

from __future__ import annotations

from collections.abc import Callable

POINTS = {
    "stage.begun": "the token is drawn and the attempt noted; nothing else",
    "stage.recovered": "earlier attempts are resolved",
    "land.written": "Parquet files and rejects are in the store; no reader knows them",
    "land.judged": "rejected records, accounts and verdicts are in the ledger",
    "consolidate.written": "each hospital's files are in the store",
    "consolidate.judged": "verdicts and blocks are in the ledger",
    "consolidate.mapped": "the patient map is in the store",
    "consolidate.accounted": "the accounts are in the ledger",
    "stage.rehearsed": "the ledger has shown that it takes the rows of the commit",
    "stage.intended": "the intent is in the ledger",
    "lake.begun": "the lake's transaction has begun",
    "lake.filled": "all of the change is in the lake's transaction, which is not committed",
    "lake.committed": "the lake holds the change, the ledger does not know it",
    "land.tidied": "files of rejects are deleted",
    "stage.noted": "the ledger's rows are written, in a transaction that is not committed",
    "stage.ended": "the ledger knows the attempt's end",
    "load.filled": "the new tables of staging are filled, none is swapped in",
    "load.accounted": "the accounts are written, in the transaction of the swap",
    "load.swapped": "everything is swapped in, in a transaction that is not committed",
    "load.committed": "staging holds the new rows, the attempt has not ended",
    "publish.numbered": "the release has its number, candidates of before are still there",
    "publish.built": "the candidate is built and tested",
    "publish.judged": "results and verdicts of gates 3 and 4 are in the ledger",
    "publish.swapped": "everything is renamed and the release noted, in a transaction that is not committed",
    "publish.served": "the new release is served, the attempt has not ended",
    "publish.pruned": "archives that are no longer kept are dropped",
    "publish.ended": "the ledger knows the attempt's end, the run's is not noted",
}
_hooks: dict[str, Callable[[], None]] = {}


def reach(point: str) -> None:
    """The stage has come to this point."""
    hook = _hooks.get(point)
    if hook is not None:
        hook()


def at(point: str, hook: Callable[[], None]) -> None:
    """For tests: call ``hook`` whenever a stage comes to the point."""
    if point not in POINTS:
        raise KeyError(point)
    _hooks[point] = hook


def clear() -> None:
    """For tests: no point does anything any more."""
    _hooks.clear()
