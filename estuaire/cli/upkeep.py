"""`estuaire backup | restore | upkeep`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from estuaire.base.display_text import shown


def register(app: typer.Typer) -> None:
    app.command()(backup)
    app.command()(restore)
    app.command()(upkeep)


def backup(
    folder: Annotated[
        Path, typer.Argument(help="A folder that does not exist yet, or an empty one.", show_default=False)
    ],
    by_reference: Annotated[
        bool,
        typer.Option(
            "--by-reference",
            help="Note landing and lake instead of copying them: the store is replicated or versioned itself.",
        ),
    ] = False,
) -> None:
    """Back up the platform while it runs: its databases as of one moment, landing and lake. Never the pseudonym key: keep it apart."""
    from rich.console import Console

    from estuaire.cli.progress import Progress

    console = Console()
    with Progress(console, "reading the settings") as progress:
        from estuaire.base.settings import settings
        from estuaire.operations.backup.making import make
        from estuaire.storage.platform import Platform

        platform = Platform(settings())

        made = make(platform, folder, by_reference=by_reference, report=progress)
    console.print(
        f"Backed up into {shown(str(made.folder))}: {shown(made.sentence())}.",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    console.print(
        f"Not in it: the pseudonym key (fingerprint {made.manifest.fingerprint}) and every other secret. Keep "
        f"{platform.settings.secrets_path / 'pseudonym_key'} elsewhere: without it this backup cannot be restored.",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip


def restore(
    folder: Annotated[Path, typer.Argument(help="What `estuaire backup` wrote.", show_default=False)],
    check: Annotated[bool, typer.Option("--check", help="Only read it and compare it with its hashes.")] = False,
) -> None:
    """Make the platform of a backup again, on empty databases and an empty store; run again, it goes on where it ended."""
    from rich.console import Console

    from estuaire.cli.progress import Progress

    console = Console()
    with Progress(console, "reading the settings") as progress:
        from estuaire.base.settings import settings
        from estuaire.operations.backup import restoring
        from estuaire.storage.platform import Platform

        if check:
            manifest, _ = restoring.check(folder.expanduser().resolve(), progress)
            said = f"The backup of {manifest.made_at} is whole: {manifest.objects:,} objects, {manifest.bytes / 2**20:,.1f} MiB."
        else:
            _start_server(progress)
            said = f"Done: {restoring.restore(Platform(settings()), folder, progress).sentence()}. Now `estuaire up`."
    console.print(shown(said), highlight=False, markup=False, soft_wrap=True)


def _start_server(report: object) -> None:
    """The embedded PostgreSQL with its roles and empty databases, alone: `up` would start Airflow as well, and draw a key."""
    from estuaire.base.settings import settings
    from estuaire.stack import postgres, roles
    from estuaire.stack.lock import alone

    if settings().postgres_host:
        return
    with alone(settings(), lambda _: None):
        settings().secret("pseudonym_key")
        postgres.start(settings())
        roles.ensure(settings(), postgres.ensure_passwords(settings()))


def upkeep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Put away what is old: snapshots of the lake, files that nobody needs, logs, reports, Airflow's runs; and vacuum."""
    from rich.console import Console
    from rich.table import Table

    from estuaire.cli.progress import Progress
    from estuaire.operations import upkeep as keeping

    console = Console(stderr=as_json)
    with Progress(console, "reading the settings") as progress:
        from estuaire.base.settings import settings
        from estuaire.storage.platform import Platform

        platform = Platform(settings())

        done = keeping.run(platform, dry_run=dry_run, report=progress)
    if as_json:
        typer.echo(json.dumps({**done.told(), "bytes": done.bytes, "dry_run": dry_run}, indent=1))
        return
    view = Table("what", "how many", "MiB")
    for part in done.parts:
        view.add_row(shown(part.said), f"{part.count:,}", f"{part.bytes / 2**20:,.1f}")
    console.print(view)
    console.print(f"{'Would free' if dry_run else 'Freed'} {done.bytes / 2**20:,.1f} MiB.", highlight=False)
