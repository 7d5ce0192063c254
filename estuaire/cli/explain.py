"""`estuaire explain | retry`, and the part of `estuaire logs` that shows a run's tasks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from estuaire.base.display_text import shown, shown_json, shown_lines
from estuaire.base.texts import say, spoken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from estuaire.runs.explain import Explanation

Name = Annotated[
    str | None, typer.Argument(help="A run's id, hospital/delivery or a delivery's id; default: last run.")
]


def register(app: typer.Typer) -> None:
    app.command()(explain)
    app.command()(retry)


def explain(
    name: Name = None,
    lang: Annotated[str | None, typer.Option(help="en or fr; default: the settings' language.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """What arrived, what each stage did, why it stopped, and what to do next."""
    from dataclasses import asdict

    from estuaire.base.settings import settings
    from estuaire.cli.tables import name_held_back
    from estuaire.runs import explain as explaining
    from estuaire.storage.platform import Platform

    platform = Platform(settings())

    name_held_back(platform.registry)
    explanation = explaining.explain(platform, name)
    if as_json:
        _with_sentences(explanation)
        typer.echo(shown_json(json.dumps(asdict(explanation), default=str, ensure_ascii=False, indent=1)))
        return
    _print(explanation, language=spoken(lang or platform.settings.language))


def _with_sentences(explanation: Explanation) -> None:
    """Beside the fields of each error its sentence, for machines that show it to people."""
    from estuaire.storage import error_columns

    for row in explanation.arrived:
        del row["manifest"]
        error = error_columns.read(row)
        row |= {"error": None, "remedy": None}
        if error is not None:
            row |= {"error": error.sentence(), "remedy": error.remedy}
    for row in explanation.stages:
        row["message"] = error_columns.said(row)
    for row in explanation.gates:
        row["reasons"] = error_columns.reasons(row)


def _print(explanation: Explanation, *, language: str) -> None:
    from rich.console import Console

    from estuaire.cli.tables import show, slowest

    out = Console(soft_wrap=True, highlight=False)

    def word(key: str, /, **values: Any) -> str:
        return say(language, f"explain.{key}", **values)

    def table(title: str, rows: list[dict[str, Any]], *keys: str) -> None:
        used = [k for k in keys if any(row.get(k) is not None for row in rows)]
        if rows:
            show(rows, {k: word(k) for k in used}, title=word(title))

    def heading(key: str) -> None:
        out.print(word(key), style="bold")

    def line(text: str, style: str = "") -> None:
        out.print(shown(text), style=style, markup=False)

    line(f"{explanation.name}: {explanation.state}{' - ' + explanation.message if explanation.message else ''}", "bold")
    states = {"held": word("state_held")}
    for row in explanation.arrived:
        row["state"] = states.get(row["state"], row["state"])
    arrived = [{**r, "period": _period(r), "how_many": r["tables"]} for r in explanation.arrived]
    table("arrived", arrived, "hospital_id", "delivery_id", "kind", "period", "how_many", "rows", "state", "error_code")
    table("tables", explanation.tables, "hospital_id", "delivery_id", "table", "files", "rows")
    for row in explanation.stages:
        row["peak_mib"] = (row["peak_memory_bytes"] or 0) // 2**20 or None
    counts = ("rows_in", "rows_out", "quarantined", "superseded", "unparseable", "not_loaded")
    table("stages", explanation.stages, "stage", "state", *counts, "seconds", "cpu_seconds", "peak_mib", "started_at")
    for row in (r for r in explanation.stages if r["models"]):
        line(f"{word('slowest')}: {slowest(row['models'])}")
    gates = [{**r, "reasons": r["reasons"] or r["error_code"] or ""} for r in explanation.gates]
    table("gates", gates, "hospital_id", "delivery_id", "stage", "verdict", "reasons")
    rules = [{**r, "rate": _percent(r["rate"]), "threshold": _percent(r["threshold"])} for r in explanation.rules]
    table(
        "rules", rules, "stage", "table_name", "rule_id", "action", "rows_failed", "rows_checked", "rate", "threshold"
    )
    if explanation.stopped:
        heading("stopped")
        for stop in explanation.stopped:
            file = f", {word('file')} {stop.file}" if stop.file else ""
            line(f"  {stop.where}{file}: {stop.code} {stop.what}", "red")
            if stop.remedy:
                line(f"    {word('remedy')}: {stop.remedy}")
    ends = [
        {
            "hospital_id": one.hospital,
            "delivery_id": one.delivery,
            "table": e.table,
            "would_end": e.ended,
            "standing": e.standing,
            "share": _percent(e.share),
            "may": _percent(e.may),
        }
        for one in explanation.held
        for e in one.endings
    ]
    table("held", ends, "hospital_id", "delivery_id", "table", "would_end", "standing", "share", "may")
    heading("ended")
    out.print(f"  {word('snapshot')}: {', '.join(map(str, explanation.snapshots)) or word('none')}")
    releases = ", ".join(f"{r['release_id']} ({r['state']})" for r in explanation.releases)
    serves = (
        f" ({word('serves', about=explanation.served)})"
        if not explanation.releases and explanation.served is not None
        else ""
    )
    out.print(f"  {word('release')}: {releases or word('none')}{serves}")
    heading("next")
    for step in explanation.next:
        line(f"  {word(step.kind, about=step.about)}")
        if step.detail:
            line(f"    {word('remedy')}: {step.detail}")
        line(f"    {step.command}")


def _period(row: Mapping[str, Any]) -> str | None:
    return f"{row['period_from']} - {row['period_to']}" if row["period_from"] else None


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.3%}"


def retry(name: Name = None) -> None:
    """Make what failed run again: the failed stage's chain, or a refused delivery; then follow it."""
    from rich.console import Console

    from estuaire.base.errors import NothingToRetry
    from estuaire.base.settings import settings
    from estuaire.cli.data import PARTLY_BLOCKED, show_followed
    from estuaire.cli.progress import Progress
    from estuaire.operations.pipeline_run import follow, under_way
    from estuaire.operations.retry import retry as make_ready
    from estuaire.stack.airflow_client import AirflowClient
    from estuaire.storage.platform import Platform

    platform = Platform(settings())

    with Progress(Console(stderr=True), "asking Airflow whether a run is under way") as progress:
        with AirflowClient(platform.settings) as client:
            going_on = under_way(platform.database, client)
        if going_on:
            raise NothingToRetry(
                f"run {going_on.run_id} is under way; nothing was changed",
                remedy="`estuaire run` follows it; try again once it has ended",
            )
        plan = make_ready(platform.database, platform.store, name)
        for hospital, delivery in plan.put_back:
            progress(f"{hospital}/{delivery} is pending again")
        for reason in plan.left:
            progress(f"left as it is: {reason}")
        result = follow(platform, progress, start=plan.start, root=plan.root)
    show_followed(result)
    if result.blocked:
        raise typer.Exit(PARTLY_BLOCKED)


def run_logs(name: str | None, stage: str | None, lines: int) -> None:
    """Print paths and ends of the logs of a run's or delivery's tasks: the failed ones', or those of ``stage``."""
    from estuaire.base.errors import UnknownName
    from estuaire.base.settings import settings
    from estuaire.runs import explain as explaining
    from estuaire.runs.task_logs import task_logs
    from estuaire.stack import processes
    from estuaire.stack.airflow_client import log_line
    from estuaire.storage.platform import Platform

    platform = Platform(settings())

    subject = explaining.resolve(platform.database, name)
    logs = task_logs(platform.settings, explaining.runs_of(platform.database, subject), stage)
    if not logs:
        raise UnknownName(
            f"no task of {subject.name}{f' is named {stage} and' if stage else ''} has a log on this machine",
            remedy="stages are land, consolidate, load and publish; `estuaire explain` shows which ran",
        )
    failed = [log for log in logs if log.failed]
    if not failed and stage is None:
        typer.echo(shown(f"No task of {subject.name} failed. Its logs (--stage shows one):"))
    for log in logs if stage else failed or logs:
        typer.echo(shown(f"{log.task} of {log.run_id}: {log.path}"))
        if failed or stage:
            for line in processes.tail(log.path, lines):
                typer.echo("  " + shown_lines(log_line(_event(line))))


def _event(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return line
