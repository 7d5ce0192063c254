"""``estuaire query "SQL"``."""

from __future__ import annotations

import sys

import typer

from estuaire.base.display_text import shown_json, shown_lines


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def query(
        sql: str = typer.Argument(..., help="One statement that reads the marts, in quotes."),
        as_json: bool = typer.Option(False, "--json", help="A list of objects, for machines."),
        as_csv: bool = typer.Option(
            False,
            "--csv",
            help="Comma-separated text with a header; an apostrophe before what a spreadsheet would execute.",
        ),
        limit: int = typer.Option(1000, "--limit", min=1, help="Most rows to return."),
        timeout: float = typer.Option(60.0, "--timeout", min=1.0, help="Most seconds to take."),
    ) -> None:
        """Query the published marts, read-only: estuaire query "select * from antibiotic_consumption"."""
        from estuaire.base.settings import settings
        from estuaire.cli.tables import show_result
        from estuaire.storage.platform import Platform
        from estuaire.warehouse import query as queries
        from estuaire.warehouse.patient_level import BANNER

        platform = Platform(settings())

        if as_json and as_csv:
            raise typer.BadParameter("choose --json or --csv")
        result = queries.run_query(platform, sql, limit=limit, timeout_seconds=timeout)
        if result.patient_level:
            typer.echo(f"{BANNER} ({', '.join(result.patient_level)})", err=True)
        if result.renamed:
            typer.echo(
                f"Columns of one name were told apart: {', '.join(result.renamed)}; name them with `as`.", err=True
            )
        if as_json:
            typer.echo(shown_json(queries.as_json(result)))
        elif as_csv:
            text = queries.as_csv(result)
            if formulas := queries.formulas(result):
                typer.echo(
                    f"{formulas} values that a spreadsheet would execute have an apostrophe before them; --json gives them as they are.",
                    err=True,
                )
            # but for these, a file or a program gets the values as they are
            typer.echo(shown_lines(text) if sys.stdout.isatty() else text, nl=False)
        else:
            show_result(result.columns, result.rows)
        if result.truncated:
            typer.echo(f"Only the first {limit} rows are shown; --limit asks for more.", err=True)
