"""`estuaire run | runs | accounting`: start the pipeline, and see what it did."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from estuaire.base.display_text import shown, shown_json
from estuaire.storage import error_columns

if TYPE_CHECKING:
    from estuaire.operations.pipeline_run import Followed

PARTLY_BLOCKED = 3  # exit code of a run that a gate blocked something of; the rest went on

Json = Annotated[bool, typer.Option("--json", help="For machines.")]

# an attempt that says nothing yet shows what its run says
_RUNS = f"""
select s.run_id, r.dag_id, r.state as run_state, s.stage, s.token, s.state, s.started_at, s.seconds, s.cpu_seconds,
       s.peak_memory_bytes, s.rows, s.gate_seconds, s.snapshot_id, coalesce(s.message, said.message) as message,
       {", ".join(f"coalesce(s.{name}, said.{name}) as {name}" for name in error_columns.NAMES)},
       (select jsonb_object_agg(b.name, b.seconds) from control.model_build b
        where (b.run_id, b.stage, b.token) = (s.run_id, s.stage, s.token)) as models
from control.stage_run s join control.run r using (run_id)
left join control.run said on said.run_id = s.run_id and s.message is null and s.error_what is null
union all
select r.run_id, r.dag_id, r.state, null, null, r.state, r.started_at,
       extract(epoch from r.ended_at - r.started_at)::double precision, null, null, null, null, null, r.message, {error_columns.of("r")}, null
from control.run r where not exists (select 1 from control.stage_run s where s.run_id = r.run_id)
order by 7 desc limit %s
"""

# of each stage, delivery and table the newest account
_ACCOUNTING = """
select distinct on (a.stage, a.hospital_id, a.delivery_id, a.table_name)
       a.stage, a.run_id, a.hospital_id, a.delivery_id, a.table_name, a.rows_in, a.rows_out, a.rows_quarantined,
       a.rows_superseded, a.rows_unparseable, a.rows_not_loaded, a.not_loaded,
       a.rows_in = a.rows_out + a.rows_quarantined + a.rows_superseded + a.rows_unparseable + a.rows_not_loaded
       and a.hash_in = a.hash_out + a.hash_quarantined + a.hash_superseded + a.hash_unparseable + a.hash_not_loaded as balanced
from control.accounting a join control.stage_run s using (run_id, stage, token)
where (%(runs)s::text[] is null or a.run_id = any(%(runs)s)) and (%(stage)s is null or a.stage = %(stage)s)
and (%(hospital)s is null or a.hospital_id = %(hospital)s) and (%(delivery)s is null or a.delivery_id = %(delivery)s)
and (%(table)s is null or a.table_name = %(table)s)
order by a.stage, a.hospital_id, a.delivery_id, a.table_name, s.started_at desc
"""

_REJECTED = """
select hospital_id, delivery_id, table_name, file, line_number, record_number, disposition, rule_ids, columns, state
from control.rejected_record
where (%(name)s is null or %(name)s in (hospital_id, delivery_id, hospital_id || '/' || delivery_id))
and (%(still)s is false or state in ('open', 'sent_to_hospital'))
order by hospital_id, sequence, file, record_number limit %(limit)s
"""
_REJECTED_COLUMNS = {
    "hospital_id": "hospital",
    "delivery_id": "delivery",
    "table_name": "table",
    "file": "file",
    "line_number": "line",
    "disposition": "set aside as",
    "rule_ids": "rules",
    "columns": "columns",
    "state": "state",
}


_RUN_COLUMNS = {
    "dag_id": "DAG",
    "stage": "stage",
    "state": "state",
    "started_at": "started",
    "seconds": "seconds",
    "gate_seconds": "gates s",
    "cpu_seconds": "CPU s",
    "peak_mib": "peak MiB",
    "rows": "rows",
    "message": "message",
    "run_id": "run",
}
_COUNTS = ("rows_in", "rows_out", "rows_quarantined", "rows_superseded", "rows_unparseable", "rows_not_loaded")
_STAGES = ("land", "consolidate", "load")
_ACCOUNT_COLUMNS = {
    "stage": "stage",
    "hospital_id": "hospital",
    "delivery_id": "delivery",
    "table_name": "table",
    "rows_in": "in",
    "rows_out": "out",
    "rows_quarantined": "quarantined",
    "rows_superseded": "superseded",
    "rows_unparseable": "unparseable",
    "rows_not_loaded": "not loaded",
    "balanced": "balanced",
}


def register(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(runs)
    app.command()(accounting)
    app.command()(rejected)


def _print_json(rows: Any) -> None:
    typer.echo(shown_json(json.dumps(rows, default=str, ensure_ascii=False, indent=1)))


def run(as_json: Json = False) -> None:
    """Land what hospitals delivered, consolidate it and publish the marts, through Airflow; shows each stage.

    Exit code 3: a gate blocked a delivery or a hospital; the others went on.
    """
    from dataclasses import asdict

    from rich.console import Console

    from estuaire.base.settings import settings
    from estuaire.cli.progress import Progress
    from estuaire.cli.tables import name_held_back
    from estuaire.operations.pipeline_run import follow
    from estuaire.storage.platform import Platform

    platform = Platform(settings())

    name_held_back(platform.registry)
    console = Console(stderr=True)
    with Progress(console, "asking Airflow to run the pipeline") as progress:
        result = follow(platform, progress)
    if as_json:
        _print_json(asdict(result))
    else:
        show_followed(result)
    if result.blocked:
        raise typer.Exit(PARTLY_BLOCKED)


def show_followed(result: Followed) -> None:
    """Print what was blocked, and how the chain ended."""
    from rich.console import Console

    out = Console(soft_wrap=True)
    for sentence in result.blocked:
        out.print(f"BLOCKED {shown(sentence)}", style="red", markup=False)
    out.print(f"{shown(result.message)} ({result.seconds:.0f} s)", markup=False)
    if result.report:
        out.print(f"report: {result.report}", markup=False)


def runs(as_json: Json = False, limit: Annotated[int, typer.Option(help="Newest stage runs to show.")] = 50) -> None:
    """Per run and stage: state, seconds, CPU seconds, peak memory, rows; of the newest publication the slowest models."""
    from estuaire.base.settings import settings
    from estuaire.cli.tables import show, slowest
    from estuaire.storage.ledger import fetch
    from estuaire.storage.platform import Platform

    platform = Platform(settings())

    rows = fetch(platform.database, _RUNS, (limit,))
    for row in rows:
        row["message"] = error_columns.said(row)
    if as_json:
        _print_json(rows)
        return
    if not rows:
        typer.echo("No run yet: `estuaire run` starts one.")
        return
    for row in rows:
        row["peak_mib"] = (row["peak_memory_bytes"] or 0) // 2**20 or None
    show(rows, _RUN_COLUMNS, title="Runs, newest first")
    built = next((row for row in rows if row["models"]), None)
    if built is not None:
        typer.echo(f"Slowest models of {shown(built['run_id'])}: {slowest(built['models'])}.")


def accounting(
    run_id: Annotated[str | None, typer.Option("--run", help="Only this run, and those that it set off.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only this stage: land, consolidate or load.")] = None,
    hospital: Annotated[str | None, typer.Option(help="Only this hospital, delivery by delivery.")] = None,
    delivery: Annotated[
        str | None, typer.Option(help="Only this delivery (its id, or hospital/id), table by table.")
    ] = None,
    table: Annotated[str | None, typer.Option(help="Only this table, delivery by delivery.")] = None,
    each: Annotated[
        bool, typer.Option("--each", help="One line per delivery and table instead of their totals.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="Lines to show at most; totals count all.")] = 200,
    as_json: Json = False,
) -> None:
    """Every record that came in is out, quarantined, superseded, unparseable or not loaded: totals per stage and table, or each delivery."""
    from estuaire.base.settings import settings
    from estuaire.cli.tables import show
    from estuaire.runs.explain import resolve, runs_of
    from estuaire.storage.ledger import fetch
    from estuaire.storage.platform import Platform

    platform = Platform(settings())

    if stage is not None and stage not in _STAGES:
        raise typer.BadParameter(f"the stages with an account are {', '.join(_STAGES)}", param_hint="--stage")
    runs = None if run_id is None else list(runs_of(platform.database, resolve(platform.database, run_id)))
    if delivery and "/" in delivery:
        hospital, delivery = delivery.split("/", 1)
    asked: dict[str, object] = {
        "runs": runs,
        "stage": stage,
        "hospital": hospital,
        "delivery": delivery,
        "table": table,
    }
    rows = fetch(platform.database, _ACCOUNTING, asked)
    if as_json:
        _print_json(rows)
        return
    if not rows:
        everything = not any(asked.values())
        typer.echo(
            "Nothing accounted for yet: `estuaire run` lands what was delivered."
            if everything
            else "No account matches: `estuaire accounting` without options shows the stages and tables, `estuaire explain` the deliveries."
        )
        return
    rows.sort(key=lambda r: (_STAGES.index(r["stage"]), r["hospital_id"], r["delivery_id"], r["table_name"]))
    single = each or bool(hospital or delivery or table)
    shown = rows if single else _totals(rows, ("stage", "table_name"))
    lines = [*shown[:limit], *_totals(rows, ("stage",))]
    show(
        lines, _ACCOUNT_COLUMNS, title="Accounting: rows in = out + quarantined + superseded + unparseable + not loaded"
    )
    if len(shown) > limit:
        typer.echo(
            f"{limit} of {len(shown)} lines are shown, the totals count all: --limit shows more, --hospital, --delivery and --table fewer."
        )
    reasons: dict[str, int] = {}
    for row in rows:
        for reason, n in row["not_loaded"].items():
            reasons[reason] = reasons.get(reason, 0) + n
    if reasons:
        told = ", ".join(
            f"{reason.replace('_', ' ')} {n:,}" for reason, n in sorted(reasons.items(), key=lambda r: -r[1])
        )
        typer.echo(f"Not loaded, kept in the lake: {told}.")


def _totals(rows: list[dict[str, Any]], by: tuple[str, ...]) -> list[dict[str, Any]]:
    """One line per ``by``, in the order of the rows: sums, how many hospitals and deliveries, and whether all balance."""
    grouped: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(tuple(row[k] for k in by), []).append(row)
    total = {"table_name": "TOTAL"} if "table_name" not in by else {}
    lines = [
        {
            **total,
            **dict(zip(by, place, strict=True)),
            "hospital_id": f"{len({r['hospital_id'] for r in group})} hospitals",
            "delivery_id": f"{len({(r['hospital_id'], r['delivery_id']) for r in group})} deliveries",
            **{c: sum(r[c] for r in group) for c in _COUNTS},
            "balanced": all(r["balanced"] for r in group),
        }
        for place, group in grouped.items()
    ]
    return sorted(lines, key=lambda r: (_STAGES.index(r["stage"]), r["table_name"]))


def rejected(
    name: Annotated[
        str | None, typer.Argument(help="A hospital, a delivery's id, or hospital/delivery; default: all.")
    ] = None,
    still: Annotated[
        bool, typer.Option("--open", help="Only those that somebody waits for: not of a delivery that was withdrawn.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Records to show at most.")] = 200,
    as_json: Json = False,
) -> None:
    """Records that were set aside: file, line, and the rules that each broke; never a value."""
    from estuaire.base.settings import settings
    from estuaire.cli.tables import show
    from estuaire.storage.ledger import fetch
    from estuaire.storage.platform import Platform

    platform = Platform(settings())

    rows = fetch(platform.database, _REJECTED, {"name": name, "still": still, "limit": limit + 1})
    more = rows[limit:]
    if as_json:
        _print_json(rows[:limit])
        return
    if not rows:
        typer.echo("No record was set aside." if name is None else f"No record of {shown(name)} was set aside.")
        return
    show(
        rows[:limit],
        _REJECTED_COLUMNS,
        title="Set aside; a line is counted in the delivered file, its header is line 1",
    )
    if more:
        typer.echo(f"There are more than {limit}: --limit shows more, --json gives them to a program.")
