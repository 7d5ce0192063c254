"""`estuaire worklist [accept]`: unmapped local codes with suggestions, and a reviewer's answers."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from estuaire.base.display_text import shown, shown_json

_COLUMNS = {
    "code_system": "system",
    "local_code": "local code",
    "records": "records",
    "marts": "figures that lack them",
    "hospitals": "hospitals",
    "standard_code": "suggestion",
    "score": "score",
    "how": "found by",
}


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Local codes that nobody has mapped, with suggestions; `accept` maps one.")
    group.callback(invoke_without_command=True)(worklist)
    group.command()(accept)
    app.add_typer(group, name="worklist")


def worklist(
    context: typer.Context,
    hospital: Annotated[str | None, typer.Option(help="Only this hospital's codes.")] = None,
    system: Annotated[str | None, typer.Option(help="Only this code system, such as organism.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most frequent ones.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Unmapped local codes by frequency over hospitals, each with a suggested standard code."""
    if context.invoked_subcommand is not None:
        return
    from estuaire.base.settings import settings
    from estuaire.cli.tables import name_held_back, show
    from estuaire.stewardship import codes_to_map as work
    from estuaire.storage.platform import Platform

    platform = Platform(settings())

    name_held_back(platform.registry)
    entries = work.worklist(platform, hospital=hospital, system=system, limit=limit)
    if as_json:
        typer.echo(shown_json(json.dumps([entry.as_dict() for entry in entries], ensure_ascii=False, indent=1)))
        return
    if not entries:
        typer.echo("No unmapped code.")
        return
    rows = []
    for entry in entries:
        best = entry.suggestions[0] if entry.suggestions else None
        rows.append(
            {
                **entry.as_dict(),
                "marts": ", ".join(entry.marts) or "none",
                "hospitals": ", ".join(f"{h} (blocked)" if h in entry.blocked else h for h in list(entry.hospitals)[:6])
                + (" ..." if len(entry.hospitals) > 6 else ""),
                "standard_code": best and best.standard_code,
                "score": best and f"{best.score:.2f}",
                "how": best and best.how,
            }
        )
    show(rows, _COLUMNS, title="Unmapped local codes, most frequent first")
    typer.echo("Map one: estuaire worklist accept HOSPITAL SYSTEM LOCAL STANDARD --reviewer NAME")


def accept(
    hospital: Annotated[str, typer.Argument(help="The hospital's id.")],
    system: Annotated[str, typer.Argument(help="The code system.")],
    local: Annotated[str, typer.Argument(help="The hospital's own code.")],
    standard: Annotated[str, typer.Argument(help="The standard code that it means.")],
    reviewer: Annotated[str, typer.Option(help="Who reviewed it.")],
) -> None:
    """Add a reviewed line to the hospital's code map; the next `estuaire run` rebuilds that hospital."""
    from estuaire.base.settings import settings
    from estuaire.stewardship import codes_to_map as work
    from estuaire.storage.platform import Platform

    platform = Platform(settings())

    done = work.accept(platform, hospital, system, local, standard, reviewer)
    typer.echo(
        shown(
            f"{done.file}: {done.local_code} -> {done.standard_code} (reviewed by {done.reviewer}, {done.reviewed_on})"
        )
    )
    if done.created:
        typer.echo(f"The map is new; {hospital}.yml names it now.")
    typer.echo("Commit both files after a look at the difference; the next `estuaire run` rebuilds this hospital.")
