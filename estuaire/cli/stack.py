"""`estuaire up | init | down | status | logs`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from estuaire.base.display_text import shown, shown_lines

if TYPE_CHECKING:
    from rich.table import Table

    from estuaire.base.settings import Settings

_COLOURS = {"running": "green", "starting": "yellow", "stalled": "red", "unknown": "yellow", "stopped": "dim"}


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(init)
    app.command()(down)
    app.command()(status)
    app.command()(logs)


def up() -> None:
    """Start the embedded PostgreSQL and Airflow, or what is missing of them; with ESTUAIRE_POSTGRES_HOST Airflow alone."""
    from rich.console import Console

    from estuaire.cli.progress import Progress

    console = Console()
    with Progress(console, "reading the settings") as progress:
        from estuaire.base.settings import settings
        from estuaire.stack import airflow, lifecycle

        result = lifecycle.up(settings(), progress)
    if not result.started:
        console.print("Everything runs already.")
    else:
        console.print(f"Started in {result.seconds:.0f} s: {', '.join(result.started)}.", highlight=False)
    if result.repaired:
        console.print(f"{result.repaired}.", highlight=False, soft_wrap=True)
    console.print(f"Airflow: {result.url}", highlight=False, soft_wrap=True)
    secret = settings().secrets_path / airflow.ADMIN_SECRET
    console.print(f"User '{airflow.ADMIN}', password in {secret}", highlight=False, soft_wrap=True)
    if result.new_password:
        console.print(f"Password (shown this once): {result.new_password}", highlight=False)


def init() -> None:
    """Make servers of your own ready: roles, databases and tables of the PostgreSQL in ESTUAIRE_POSTGRES_HOST, bucket, pseudonym key."""
    from rich.console import Console

    from estuaire.cli.progress import Progress

    console = Console()
    with Progress(console, "reading the settings") as progress:
        from estuaire.base.settings import settings
        from estuaire.stack.init import init as prepare

        done = prepare(settings(), progress)
    what = f"Made: {', '.join(done.made)}" if done.made else "Everything was there already"
    console.print(f"{what} ({done.seconds:.0f} s).", highlight=False, soft_wrap=True)
    for statement in done.left:
        console.print(f"For a superuser: {statement};", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"Pseudonym key: fingerprint {done.fingerprint}; keep its file in a backup.", highlight=False, soft_wrap=True
    )


def down() -> None:
    """Stop everything that `up` started."""
    from rich.console import Console

    from estuaire.cli.progress import Progress

    console = Console()
    with Progress(console, "looking for what runs") as progress:
        from estuaire.base.settings import settings
        from estuaire.stack import lifecycle

        stopped = lifecycle.down(settings(), progress)
    console.print("Everything is stopped." if stopped else "Nothing was running.")


def _print_waiting(language: str) -> None:
    """Deliveries that wait for a confirmation and hospitals set aside, where the ledger answers."""
    from psycopg2.errors import UndefinedColumn, UndefinedTable

    from estuaire.base.errors import EstuaireError
    from estuaire.base.settings import settings
    from estuaire.base.texts import say
    from estuaire.runs import held_fulls
    from estuaire.storage import error_columns, set_aside
    from estuaire.storage.platform import Platform

    platform = Platform(settings())

    try:
        held, aside = held_fulls.waiting(platform), set_aside.standing(platform.database)
    except (EstuaireError, UndefinedTable, UndefinedColumn):  # down, or not set up yet: the table says so
        return
    for one in held:
        typer.echo(shown(say(language, "status.held", what=one.text(language))))
    for row in aside:
        error = error_columns.read(row)
        typer.echo(shown(say(language, "status.set_aside", what=error.sentence() if error else row["hospital_id"])))


def status(
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    lang: Annotated[str | None, typer.Option(help="en or fr; default: the settings' language.")] = None,
) -> None:
    """State of each server and process, and what waits for somebody. Exit code 3 when a part does not run."""
    from rich.console import Console

    from estuaire.base.settings import settings
    from estuaire.base.texts import spoken

    parts = stack_status(settings())
    if as_json:
        typer.echo(json.dumps(parts, indent=2))
    else:
        Console().print(stack_table(parts))
        _print_waiting(spoken(lang or settings().language))
    if any(part["state"] != "running" for part in parts):
        raise typer.Exit(3)


def logs(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A part (postgres, api-server, scheduler, dag-processor, triggerer), a run or a delivery; "
            "default: the failed tasks of the last run."
        ),
    ] = None,
    stage: Annotated[
        str | None, typer.Option(help="Of a run: land, consolidate, load, publish or another task.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Of a part: go on until interrupted.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
) -> None:
    """Show the log of one part of the stack, or of the failed tasks of a run."""
    import time

    from estuaire.base.errors import DatabaseUnavailable, SetupError, UnknownName
    from estuaire.base.settings import settings
    from estuaire.stack import processes

    folder = settings().logs
    known = sorted(path.stem for path in folder.glob("*.log"))
    if name not in known:
        from estuaire.cli.explain import run_logs

        try:
            return run_logs(name, stage, lines)
        except (UnknownName, DatabaseUnavailable) as error:
            if name is None or stage is not None:
                raise
            raise SetupError(
                f"there is no log named '{name}'; {error.what}",
                remedy=f"choose one of: {', '.join(known)}; or {error.remedy}" if known else "run `estuaire up` first",
            ) from error
    assert name is not None  # noqa: S101 - it is one of the known
    path = processes.log_file(settings(), name)
    with path.open(encoding="utf-8", errors="replace") as file:
        file.seek(0, 2)
        for line in processes.tail(path, lines):
            typer.echo(shown_lines(line))
        while follow:
            more = file.read()
            if more:
                typer.echo(shown_lines(more), nl=False)
            else:
                time.sleep(0.3)


def stack_status(settings: Settings) -> list[dict[str, object]]:
    """State of each part, as `status --json` gives it."""
    from estuaire.stack import lifecycle

    return [asdict(part) for part in lifecycle.status(settings)]


def stack_table(parts: list[dict[str, object]]) -> Table:
    """``stack_status`` for people."""
    from rich.table import Table

    table = Table("part", "state", "pid", "up", "memory", "last heartbeat")
    for part in parts:
        state = str(part["state"])
        table.add_row(
            str(part["name"]),
            f"[{_COLOURS[state]}]{state}[/]",
            _text(part["pid"], ""),
            _text(part["seconds_up"], " s"),
            _text(part["memory_mib"], " MiB"),
            _text(part["heartbeat_age"], " s ago"),
        )
    return table


def _text(value: object, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}{unit}" if isinstance(value, float) else f"{value}{unit}"
