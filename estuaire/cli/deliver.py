"""`estuaire deliver DIR`: checks a hospital's files, writes their manifest, hands both in and prints a receipt."""

from __future__ import annotations

import importlib.util
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from estuaire.base.display_text import shown
from estuaire.base.texts import number, say

if TYPE_CHECKING:
    from estuaire.base.settings import Settings
    from estuaire.contract.manifest import Manifest
    from estuaire.deliveries.confirmation import Fewer
    from estuaire.deliveries.hand_in import Receipt


def register(app: typer.Typer) -> None:
    app.command()(deliver)


def deliver(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Files named <table>.csv, <table>_anything.csv(.gz) or <table>/anything.csv(.gz)."
        ),
    ],
    hospital: Annotated[str, typer.Option(help="The hospital's id in the registry.")],
    full: Annotated[
        bool | None, typer.Option("--full/--delta", help="Default: full for a first delivery, delta after.")
    ] = None,
    period: Annotated[
        tuple[datetime, datetime] | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="START END", help="First day, and the day after the last."),
    ] = None,
    sequence: Annotated[int | None, typer.Option(min=1, help="Default: the next one.")] = None,
    delivery_id: Annotated[str | None, typer.Option("--id", help="Default: <sequence>-<kind>.")] = None,
    prepare_only: Annotated[
        bool, typer.Option("--prepare-only", help="Write manifest.json beside the files; hand in nothing.")
    ] = False,
    receipt: Annotated[Path | None, typer.Option(help="Write the receipt there as JSON.")] = None,
    lang: Annotated[str | None, typer.Option(help="fr or en; default: ESTUAIRE_LANGUAGE.")] = None,
) -> None:
    """Check a hospital's files, write their manifest and hand both in; prints a receipt."""
    from estuaire.base.settings import settings
    from estuaire.cli.guide import language
    from estuaire.contract.registry import load_registry
    from estuaire.deliveries.hand_in import Asked, hand_in, prepare, write_manifest
    from estuaire.storage.stores import open_platforms_store, open_store

    configured = settings()
    chosen = language(lang, configured)
    store = open_store(configured) if prepare_only else open_platforms_store(configured)
    asked = Asked(
        kind=None if full is None else "full" if full else "delta",
        period=period and (period[0].date(), period[1].date()),
        sequence=sequence,
        delivery_id=delivery_id,
    )
    prepared = prepare(folder, hospital, load_registry(configured.registry_dir), store, asked)
    done = write_manifest(prepared) if prepare_only else hand_in(prepared, store)
    if receipt:
        receipt.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(done.as_dict(chosen), ensure_ascii=False, indent=2)
        receipt.write_text(text + "\n", encoding="utf-8")
    _print(done, chosen)
    _print_ends(_ends(configured, done.manifest), chosen)


def _ends(configured: Settings, manifest: Manifest) -> list[Fewer]:
    """What a full delivery ends, where the ledger can tell; a hospital's installation has no driver to ask it with."""
    if importlib.util.find_spec("psycopg2") is None:
        return []
    from estuaire.deliveries.confirmation import would_end
    from estuaire.storage.platform import Platform

    return would_end(Platform(configured), manifest)


def _print_ends(fewer: list[Fewer], chosen: str) -> None:
    from rich.console import Console
    from rich.text import Text

    for one in fewer:
        Console(soft_wrap=True).print(Text(say(chosen, "deliver.noted", what=one.text(chosen)), style="yellow"))


def _print(done: Receipt, chosen: str) -> None:
    from rich.console import Console
    from rich.text import Text

    from estuaire.cli.tables import show

    def word(key: str, /, **values: Any) -> str:
        return say(chosen, f"deliver.{key}", **values)

    manifest = done.manifest
    console = Console(soft_wrap=True)
    lines = {
        "hospital": f"{done.hospital.name} ({done.hospital.id}, FINESS {manifest.finess})",
        "delivery": manifest.delivery_id,
        "sequence": str(manifest.sequence),
        "kind": word(manifest.kind),
        "period": word("span", first=manifest.period_from, after=manifest.period_to),
        "at": f"{done.at:%Y-%m-%d %H:%M:%S %z}",
    }
    console.print(Text(word(done.state), style="bold"))
    widest = max(len(word(k)) for k in lines)
    for key, value in lines.items():
        console.print(Text(f"{word(key).ljust(widest)}  {shown(value)}"))
    rows = [(f.table, f.path, f.rows, f.bytes, f.sha256) for f in manifest.files]
    rows.append((word("total"), f"{len(rows)}", done.rows, done.bytes, ""))
    counts = [[number(n, chosen) for n in row[2:4]] for row in rows]
    wide = [max(len(word(k)), *(len(c[i]) for c in counts)) for i, k in enumerate(("rows", "bytes"))]
    show(
        [
            {"table": r[0], "file": r[1], "rows": c[0].rjust(wide[0]), "bytes": c[1].rjust(wide[1]), "sha256": r[4]}
            for r, c in zip(rows, counts, strict=True)
        ],
        {k: k if k == "sha256" else word(k) for k in ("table", "file", "rows", "bytes", "sha256")},
    )
    for warned in done.warnings:
        console.print(Text(shown(word("noted", what=warned.text(chosen))), style="yellow"))
    console.print(Text(shown(word("then", what=done.next_step(chosen)))))
