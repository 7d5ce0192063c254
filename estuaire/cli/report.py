"""`estuaire report`: write a run's report again, and say where it is."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command()(report)


def report(
    run: Annotated[str | None, typer.Argument(help="A run's id; default: the latest run.")] = None,
    open_path: Annotated[bool, typer.Option("--open-path", help="Print the path alone, to open it with.")] = False,
) -> None:
    """Write the report of a run again: one page in French and English, made of what the ledger and the marts say now."""
    from estuaire.base.settings import settings
    from estuaire.report.files import build
    from estuaire.report.serving import address
    from estuaire.storage.platform import Platform

    platform = Platform(settings())

    path = build(platform, run)
    if open_path:
        typer.echo(path)
        return
    typer.echo(f"The report is {path}\nAirflow shows it, too (log in first): {address(platform.settings, path.name)}")
