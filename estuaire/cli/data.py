"""`estuaire run | runs | accounting`: start the pipeline, and see what it did."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="For machines.")]

_RUNS = """
select s.run_id, r.dag_id, r.state as run_state, s.stage, s.token, s.state, s.started_at, s.seconds, s.cpu_seconds,
       s.peak_memory_bytes, s.rows, s.snapshot_id, coalesce(s.message, r.message) as message
from control.stage_run s join control.run r using (run_id)
union all
select r.run_id, r.dag_id, r.state, null, null, r.state, r.started_at,
       extract(epoch from r.ended_at - r.started_at)::double precision, null, null, null, null, r.message
from control.run r where not exists (select 1 from control.stage_run s where s.run_id = r.run_id)
order by 7 desc limit %s
"""

_ACCOUNTING = """
select distinct on (stage, hospital_id, delivery_id, table_name)
       a.stage, a.run_id, a.hospital_id, a.delivery_id, a.table_name, a.rows_in, a.rows_out, a.rows_quarantined,
       a.rows_superseded, a.rows_unparseable,
       a.rows_in = a.rows_out + a.rows_quarantined + a.rows_superseded + a.rows_unparseable
       and a.hash_in = a.hash_out + a.hash_quarantined + a.hash_superseded + a.hash_unparseable as balanced
from control.accounting a join control.stage_run s using (run_id, stage, token)
where (%(run)s is null or a.run_id = %(run)s) and (%(stage)s is null or a.stage = %(stage)s)
order by stage, hospital_id, delivery_id, table_name, s.started_at desc
"""


def register(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(runs)
    app.command()(accounting)


def _print_json(rows: Any) -> None:
    typer.echo(json.dumps(rows, default=str, ensure_ascii=False, indent=1))


def _table(title: str, rows: list[dict[str, Any]], columns: list[str]) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        number = bool(rows) and isinstance(rows[0].get(column), int | float) and not isinstance(rows[0][column], bool)
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*(_cell(row.get(c)) for c in columns))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.1f}"
    return str(value)


def run(as_json: Json = False) -> None:
    """Land what hospitals delivered, consolidate it and publish the marts, through Airflow; shows each stage."""
    from dataclasses import asdict

    from rich.console import Console

    from estuaire.cli.progress import Progress
    from estuaire.following import follow
    from estuaire.settings import settings

    console = Console(stderr=True)
    with Progress(console, "asking Airflow to run the pipeline") as progress:
        result = follow(settings(), progress)
    if as_json:
        _print_json(asdict(result))
        return
    out = Console(soft_wrap=True)
    for sentence in result.blocked:
        out.print(f"BLOCKED {sentence}", style="red", markup=False)
    out.print(f"{result.message} ({result.seconds:.0f} s)", markup=False)


def runs(as_json: Json = False, limit: Annotated[int, typer.Option(help="Newest stage runs to show.")] = 50) -> None:
    """Per run and stage: state, seconds, CPU seconds, peak memory, rows."""
    from rich.console import Console

    from estuaire.ledger import fetch
    from estuaire.settings import settings

    rows = fetch(settings(), _RUNS, (limit,))
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        row["peak_mib"] = (row["peak_memory_bytes"] or 0) // 2**20 or None
        row["started"] = f"{row['started_at']:%Y-%m-%d %H:%M:%S}"
    columns = ["run_id", "stage", "state", "started", "seconds", "cpu_seconds", "peak_mib", "rows", "message"]
    Console().print(_table("Runs, newest first", rows, columns) if rows else "No run yet: `estuaire run` starts one.")


def accounting(
    run_id: Annotated[str | None, typer.Option("--run", help="Only this run.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only this stage: land or consolidate.")] = None,
    as_json: Json = False,
) -> None:
    """Per delivery and table: every record that came in is out, quarantined, superseded or unparseable."""
    from rich.console import Console

    from estuaire.ledger import fetch
    from estuaire.settings import settings

    rows = fetch(settings(), _ACCOUNTING, {"run": run_id, "stage": stage})
    if as_json:
        _print_json(rows)
        return
    if not rows:
        Console().print("Nothing accounted for yet: `estuaire run` lands what was delivered.")
        return
    columns = [
        "stage", "hospital_id", "delivery_id", "table_name", "rows_in", "rows_out", "rows_quarantined", "rows_superseded",
        "rows_unparseable", "balanced",
    ]  # fmt: skip
    Console().print(_table("Accounting", rows, columns))
