"""``estuaire releases``, ``estuaire rebuild`` and ``estuaire rollback``."""

from __future__ import annotations

import contextlib

import typer

from estuaire.base.display_text import shown


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""

    @app.command()
    def releases(as_json: bool = typer.Option(False, "--json", help="A list of objects, for machines.")) -> None:
        """List the releases of the marts, newest first."""
        import json
        from dataclasses import asdict

        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        from estuaire.base.settings import settings
        from estuaire.storage.platform import Platform
        from estuaire.warehouse.releases import list_releases

        platform = Platform(settings())

        known = list_releases(platform.database)
        if as_json:
            typer.echo(json.dumps([{**asdict(r), "kept": r.kept} for r in known], default=str, indent=2))
            return
        view = Table()
        for name in ("release", "state", "published", "lake snapshot", "code", "tables kept", "held back"):
            view.add_column(name, justify="right" if name in ("release", "lake snapshot") else "left")
        for r in known:
            view.add_row(
                str(r.release_id),
                r.state,
                f"{r.published_at:%Y-%m-%d %H:%M} UTC",
                str(r.snapshot_id),
                Text(shown(r.code_version[:12])),
                "yes" if r.kept else "no",
                Text(shown(", ".join(r.held_back))),
            )
        Console().print(view)
        for note in next((r.notes for r in known if r.state == "published"), []):
            typer.echo(shown(f"Release notes: {note}."))

    @app.command()
    def rebuild() -> None:
        """Build every row of the marts anew from what the warehouse holds, and serve them as a new release."""
        from datetime import UTC, datetime

        from estuaire.base.run_names import PUBLISH, ledger_run_id
        from estuaire.base.settings import settings
        from estuaire.orchestration import tasks
        from estuaire.storage.platform import Platform

        run_id = ledger_run_id(PUBLISH, f"by-hand-{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}")
        typer.echo(shown(f"{tasks.publish(Platform(settings()), run_id, None, full=True)}."))

    @app.command()
    def rollback(
        to: int | None = typer.Option(None, "--to", help="Release to serve; default: the kept one before the served."),
    ) -> None:
        """Serve an earlier release of the marts again."""
        from estuaire.base.errors import EstuaireError
        from estuaire.base.settings import settings
        from estuaire.report.files import build_quietly
        from estuaire.runs.explain import resolve
        from estuaire.storage.platform import Platform
        from estuaire.warehouse import releases

        platform = Platform(settings())

        served = releases.rollback(platform, to)
        with contextlib.suppress(EstuaireError):  # the page of the last run tells what is served now; there may be none
            build_quietly(platform, resolve(platform.database, None).name)
        typer.echo(f"Release {served.release_id} is served (built {served.built_at:%Y-%m-%d %H:%M} UTC).")
