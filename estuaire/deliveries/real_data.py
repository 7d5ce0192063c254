"""Hospital 38, a real one: runs its own mapping (examples/mimic_iv_demo) and hands in what that writes.

The mapping is the hospital's program, not the platform's: it runs as a process of its own, and only its delivery and its balance come back.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

from estuaire.base.errors import SetupError
from estuaire.base.settings import PROJECT_ROOT, Settings
from estuaire.deliveries.hand_in import Asked, Receipt, hand_in, prepare
from estuaire.storage import ledger
from estuaire.storage.platform import Platform

HOSPITAL = "h38"
MAPPING = "examples.mimic_iv_demo"


def folder(settings: Settings) -> Path:
    """Where the mapping writes: ``delivery/`` and ``balance.json``."""
    return settings.root / "mimic-iv-demo"


def check(settings: Settings) -> None:
    """Raises SetupError where the real data is not there: before anything is started."""
    if not (settings.real_data_path / "hosp").is_dir():
        raise SetupError(
            f"the real data of hospital 38 is not at {settings.real_data_path} (real data absent)",
            remedy="unpack the MIMIC-IV Clinical Database Demo (https://doi.org/10.13026/07hj-2a80, open data) and name its folder in "
            "ESTUAIRE_REAL_DATA; `estuaire demo` without --real needs no data",
        )


def deliver(platform: Platform) -> Receipt:
    """Map the raw files (the mapping prints its balance) and hand the delivery in; the same files again change nothing.

    Raises:
        SetupError: the mapping ended with an error, which it has printed; nothing was handed in.
        EstuaireError: what handing in raises (``estuaire.deliveries.hand_in``).
    """
    out = folder(platform.settings)
    done = subprocess.run(
        [sys.executable, "-m", MAPPING, "--raw", str(platform.settings.real_data_path), "--out", str(out)],
        cwd=PROJECT_ROOT,
        check=False,
    )
    if done.returncode != 0:
        raise SetupError(
            "the mapping of hospital 38 ended with an error, and nothing of it was handed in",
            remedy="mend what its last line says",
        )
    period = _balance(platform.settings)["period"]
    asked = Asked(kind="full", period=(date.fromisoformat(period["from"]), date.fromisoformat(period["to"])))
    store = platform.store
    return hand_in(prepare(out / "delivery", HOSPITAL, platform.registry, store, asked), store)


def accounts(platform: Platform) -> str:
    """One line: what became of every raw line, and of every record handed in."""
    document = _balance(platform.settings)
    mapped = sum(sum(f["mapped"].values()) for f in document["files"])
    left_out = sum(sum(f["left_out"].values()) for f in document["files"])
    [row] = ledger.fetch(
        platform.database,
        "select coalesce(sum(rows_in), 0) as handed_in, coalesce(sum(rows_out), 0) as landed, "
        "coalesce(sum(rows_quarantined + rows_unparseable), 0) as rejected from control.accounting a join control.stage_run s using (run_id, stage, token) "
        "where a.hospital_id = %s and stage = 'land' and s.state = 'committed'",
        (HOSPITAL,),
    )
    return (
        f"{document['lines']:,} raw lines = {mapped:,} mapped + {left_out:,} left out with a reason; "
        f"{int(row['handed_in']):,} records handed in = {int(row['landed']):,} landed + {int(row['rejected']):,} rejected"
    )


def _balance(settings: Settings) -> dict[str, Any]:
    balance: dict[str, Any] = json.loads((folder(settings) / "balance.json").read_text(encoding="utf-8"))
    return balance
