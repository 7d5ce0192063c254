"""``python -m examples.mimic_iv_demo --out FOLDER``: maps the raw files, prints the balance; FOLDER/delivery is ready for `estuaire deliver`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from estuaire.base.errors import EstuaireError
from estuaire.base.settings import settings
from estuaire.contract.registry import load_registry
from examples.mimic_iv_demo.mapping import Balance, map_warehouse, reasons
from examples.mimic_iv_demo.vocabulary import Share, shares

HOSPITAL = "h38"


def run(raw: Path, out: Path) -> Balance:
    """Map, print, and write ``out/delivery/<table>.csv`` and ``out/balance.json``."""
    balance = map_warehouse(raw, out / "delivery")
    measured = shares(out / "delivery", load_registry(settings().registry_dir).get(HOSPITAL))
    document = {**balance.as_dict(), "vocabularies": [s.as_dict() for s in measured]}
    (out / "balance.json").write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    show(balance, measured)
    return balance


def show(balance: Balance, measured: list[Share]) -> None:
    """The balance and the vocabularies on the terminal."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    labels = reasons()
    table = Table("raw file", "lines", "mapped to", "left out because", title="Balance of the raw files")
    for file in balance.files:
        table.add_row(
            file.file,
            f"{file.lines:,}",
            "\n".join(f"{n:,} {name}" for name, n in file.mapped.items()),
            "\n".join(f"{n:,} {labels[reason]['en']}" for reason, n in file.left_out.items()),
        )
    table.add_section()
    table.add_row("all", f"{balance.lines:,}", f"{sum(sum(f.mapped.values()) for f in balance.files):,}",
                  f"{sum(sum(f.left_out.values()) for f in balance.files):,}")  # fmt: skip
    console.print(table)
    table = Table("vocabulary", "records", "mapped", "%", "most frequent without a standard code", title="Codes")
    for share in measured:
        first = [f"{code} ({n})" for code, n in list(share.unmapped.items())[:5]]
        more = len(share.unmapped) - len(first)
        table.add_row(share.what, f"{share.records:,}", f"{share.mapped:,}", f"{share.percent:.2f}",
                      ", ".join(first) + (f" and {more} more, see balance.json" if more else ""))  # fmt: skip
    console.print(table)
    console.print(f"{balance.accounted:,} of {balance.lines:,} raw lines are accounted for.")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.mimic_iv_demo", description=__doc__)
    parser.add_argument("--raw", type=Path, default=settings().real_data_path, help="the demo's folder")
    parser.add_argument("--out", type=Path, required=True, help="where delivery/ and balance.json are written")
    given = parser.parse_args()
    try:
        balance = run(given.raw, given.out)
    except EstuaireError as error:
        sys.stderr.write(f"{error.sentence()}\n")
        return 1
    start, end = balance.period
    sys.stdout.write(
        f"Next: estuaire deliver {given.out / 'delivery'} --hospital {HOSPITAL} --full --period {start} {end}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
