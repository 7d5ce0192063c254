"""`estuaire guide`: delivery guides in French and English, each with a sample delivery."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from estuaire.base.settings import Settings


def language(asked: str | None, configured: Settings) -> str:
    """The language asked for, else that of the settings. Raises SetupError."""
    from estuaire.base.errors import SetupError
    from estuaire.base.texts import LANGUAGES

    chosen = asked or configured.language
    if chosen not in LANGUAGES:
        raise SetupError("the guides and receipts are in French and English", remedy="give --lang fr or --lang en")
    return chosen


def register(app: typer.Typer) -> None:
    app.command()(guide)


def guide(
    hospital: Annotated[str | None, typer.Argument(help="The hospital's id in the registry.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every hospital of the registry, each in a folder of its own.")
    ] = False,
    lang: Annotated[
        str | None, typer.Option(help="fr or en; default: both with --out, else ESTUAIRE_LANGUAGE.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write guides and sample there instead of printing one guide.")
    ] = None,
) -> None:
    """Write a hospital's delivery guide, from the contract and the registry, with a sample delivery."""
    from estuaire.base.errors import SetupError
    from estuaire.base.settings import settings
    from estuaire.base.texts import LANGUAGES
    from estuaire.contract.codes import map_error
    from estuaire.contract.registry import load_registry
    from estuaire.deliveries import guide as guides

    configured = settings()
    registry = load_registry(configured.registry_dir)
    chosen = language(lang, configured)
    if every == bool(hospital) or (every and out is None):
        raise SetupError("one hospital, or all with a folder, is asked for", remedy="give HOSPITAL, or --all --out DIR")
    for entry in registry.hospitals.values() if every else [registry.get(hospital or "")]:
        wrong = map_error(entry)
        if wrong is not None:
            raise wrong
    if out is None:
        typer.echo(guides.guide(registry.get(hospital or ""), chosen), nl=False)
        return
    languages = (chosen,) if lang else LANGUAGES
    entries = list(registry.hospitals.values()) if every else [registry.get(hospital or "")]
    for entry in entries:
        guides.write_guide(entry, out / entry.id if every else out, languages)
    typer.echo(f"{len(entries)} guides ({', '.join(languages)}) with their sample deliveries in {out}")
