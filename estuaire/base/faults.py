"""Points at which a test looks into a stage, spoils what it has, or lets it fail or die: the boundaries of each step.

Empty outside tests: ``reach`` then looks into an empty dictionary. tests/integration/test_faults.py runs every point.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

POINTS = {
    "stage.begun": "the token is drawn and the attempt noted; nothing else",
    "stage.recovered": "earlier attempts are resolved",
    "land.written": "Parquet files and rejects are in the store; no reader knows them",
    "land.audited": "the gate has looked at what was written; it is not read back (value: the landings)",
    "land.judged": "rejected records, accounts and verdicts are in the ledger",
    "consolidate.written": "each hospital's files are in the store, not audited (value: results by hospital)",
    "consolidate.judged": "verdicts and blocks are in the ledger",
    "consolidate.mapped": "the patient map is in the store; nothing is read back (value: results that passed)",
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
    "publish.built": "the candidate is built and tested, not audited (value: the owner's session)",
    "publish.judged": "results and verdicts of gates 3 and 4 are in the ledger",
    "publish.swapped": "everything is renamed and the release noted, in a transaction that is not committed",
    "publish.served": "the new release is served, the attempt has not ended",
    "publish.pruned": "archives that are no longer kept are dropped",
    "publish.ended": "the ledger knows the attempt's end, the run's is not noted",
}
_hooks: dict[str, Callable[..., None]] = {}


def reach(point: str, *value: object) -> None:
    """The stage has come to this point, with what it holds there."""
    hook = _hooks.get(point)
    if hook is not None:
        hook(*value)


def at(point: str, hook: Callable[..., None]) -> None:
    """For tests: call ``hook`` with the point's value (where it has one) whenever a stage comes to it."""
    if point not in POINTS:
        raise KeyError(point)
    _hooks[point] = hook


@contextlib.contextmanager
def during(**hooks: Callable[..., None] | None) -> Iterator[None]:
    """For tests: hooks of a block, by point (``land_audited=...``); None: none."""
    points = {name.replace("_", ".", 1): hook for name, hook in hooks.items() if hook is not None}
    for point, hook in points.items():
        at(point, hook)
    try:
        yield
    finally:
        for point in points:
            _hooks.pop(point, None)


def clear() -> None:
    """For tests: no point does anything any more."""
    _hooks.clear()
