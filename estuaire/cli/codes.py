"""`estuaire codes`: the standard codes of a code system, by name."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command()(codes)


def codes(
    system: Annotated[
        str | None, typer.Argument(help="organism, antimicrobial_agent, drug...; default: list them.")
    ] = None,
    search: Annotated[str, typer.Option(help="Only codes and names that hold this text.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Standard codes that a hospital's own codes are mapped to."""
    from estuaire.cli.tables import show
    from estuaire.contract.codes import code_systems
    from estuaire.stewardship.suggestions import find_system, standard_codes

    if system is None:
        rows = [
            {"system": s.name, "label": s.label_en, "codes": len(s.values) or None, "form": s.pattern or None}
            for s in code_systems().values()
        ]
    else:
        rows = [{"code": c, "names": ", ".join(names)} for c, names in standard_codes(find_system(system).name, search)]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=1))
    elif rows:
        show(rows, {key: key for key in rows[0]})
    else:
        form = code_systems()[system or ""].pattern
        typer.echo(f"Nothing found.{f' The codes of {system} follow a form: {form}' if form else ''}")
