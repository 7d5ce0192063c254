"""`estuaire explain | retry`, and the part of `estuaire logs` that shows a run's tasks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from estuaire.base.display_text import shown, shown_json, shown_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from estuaire.runs.explain import Explanation

Name = Annotated[
    str | None, typer.Argument(help="A run's id, hospital/delivery or a delivery's id; default: last run.")
]

# (English, French) of headings, columns and next steps
_WORDS = {
    "arrived": ("What arrived", "Ce qui est arrivé"),
    "tables": ("Tables of the delivery, as its manifest declares them", "Tables de la livraison, d'après son manifeste"),
    "stages": (
        "What each stage did: rows in = out + quarantined + superseded + unparseable + not loaded",
        "Ce qu'a fait chaque étape : lignes en entrée = sorties + quarantaine + remplacées + illisibles + non chargées",
    ),
    "slowest": ("Slowest models", "Modèles les plus lents"),
    "gates": ("What the gates decided", "Décisions des contrôles"),
    "rules": ("Rules that records broke", "Règles enfreintes"),
    "stopped": ("Why it stopped", "Pourquoi cela s'est arrêté"),
    "held": (
        "Waits for a confirmation: what each full delivery would end",
        "Attend une confirmation : ce à quoi chaque livraison complète mettrait fin",
    ),
    "would_end": ("would end", "fin de"), "standing": ("of records", "sur lignes"), "share": ("share", "part"),
    "may": ("may go", "part admise"),
    "ended": ("Where it ended", "Où cela a abouti"),
    "next": ("What to do next", "Que faire ensuite"),
    "hospital_id": ("hospital", "hôpital"), "delivery_id": ("delivery", "livraison"), "kind": ("kind", "nature"),
    "period": ("period", "période"), "how_many": ("tables", "tables"), "table": ("table", "table"), "table_name": ("table", "table"),
    "files": ("files", "fichiers"), "rows": ("rows", "lignes"), "state": ("state", "état"), "error_code": ("error", "erreur"),
    "stage": ("stage", "étape"), "rows_in": ("in", "entrée"), "rows_out": ("out", "sorties"),
    "quarantined": ("quarantined", "quarantaine"), "superseded": ("superseded", "remplacées"),
    "unparseable": ("unparseable", "illisibles"), "not_loaded": ("not loaded", "non chargées"), "seconds": ("seconds", "secondes"), "cpu_seconds": ("CPU s", "s CPU"),
    "peak_mib": ("peak MiB", "pic Mio"), "verdict": ("verdict", "verdict"), "reasons": ("reasons", "raisons"),
    "rule_id": ("rule", "règle"), "action": ("action", "action"), "rate": ("rate", "taux"),
    "threshold": ("threshold", "seuil"), "rows_failed": ("broken by", "enfreinte par"),
    "rows_checked": ("of records", "sur lignes"), "started_at": ("started", "début"),
    "snapshot": ("lake snapshot", "instantané du lac"), "release": ("release of the marts", "version des marts"),
    "none": ("none", "aucun"), "file": ("file", "fichier"), "remedy": ("remedy", "remède"),
    "state_held": ("held, to be confirmed", "en attente de confirmation"),
    "follow": ("it is under way; this follows it", "c'est en cours ; ceci le suit"),
    "land": ("received, not landed yet; this lands it", "reçue, pas encore intégrée ; ceci l'intègre"),
    "correct": ("the hospital corrects {about}", "l'hôpital corrige {about}"),
    "confirm": (
        "{about} waits: confirm that the export is whole, or the hospital delivers it again under a new id",
        "{about} attend : confirmez que l'export est complet, ou l'hôpital le livre de nouveau sous un nouvel identifiant",
    ),
    "renew": (
        "{about} stays as it was landed; the correction comes as a new delivery",
        "{about} reste telle qu'intégrée ; la correction arrive comme nouvelle livraison",
    ),
    "again": (
        "{about} could not be landed; it is still received, and the next run tries again",
        "{about} n'a pas pu être intégrée ; elle reste reçue, et le prochain passage réessaie",
    ),
    "wait": (
        "{about} is not complete yet: nothing to do while it is uploaded",
        "{about} n'est pas encore complète : rien à faire tant que le dépôt continue",
    ),
    "serves": ("release {about} is served", "la version {about} est servie"),
    "retry": (
        "mend the cause of {about} here (registry, rules) and retry; corrected by the hospital it needs no retry",
        "corriger ici la cause de {about} (registre, règles) et relancer ; corrigée par l'hôpital, rien à relancer",
    ),
    "gate": (
        "mend the cause of {about}'s block (a corrected delivery, a code map, a rule); the next run takes it up by itself",
        "corriger la cause du blocage de {about} (livraison corrigée, table de codes, règle) ; le prochain passage le reprend",
    ),
    "logs": ("read the failed task's log", "lire le journal de la tâche en échec"),
    "rerun": ("make what failed run again", "relancer ce qui a échoué"),
    "query": ("look at the marts", "regarder les marts"),
    "rejected": ("{about} records were set aside; this names file, line and rule", "{about} lignes mises à part ; ceci donne fichier, ligne et règle"),
    "worklist": ("{about} records bear codes without a standard one", "{about} lignes portent des codes sans code standard"),
}  # fmt: skip


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
    found = explaining.explain(platform, name)
    if as_json:
        _with_sentences(found)
        typer.echo(shown_json(json.dumps(asdict(found), default=str, ensure_ascii=False, indent=1)))
        return
    _print(found, french=(lang or platform.settings.language) == "fr")


def _with_sentences(found: Explanation) -> None:
    """Beside the fields of each error its sentence, for machines that show it to people."""
    from estuaire.storage import error_columns

    for row in found.arrived:
        del row["manifest"]
        error = error_columns.read(row)
        row |= {"error": None, "remedy": None}
        if error is not None:
            row |= {"error": error.sentence(), "remedy": error.remedy}
    for row in found.stages:
        row["message"] = error_columns.said(row)
    for row in found.gates:
        row["reasons"] = error_columns.reasons(row)


def _print(found: Explanation, *, french: bool) -> None:
    from rich.console import Console

    from estuaire.cli.tables import show, slowest

    out = Console(soft_wrap=True, highlight=False)

    def word(key: str) -> str:
        return _WORDS[key][french]

    def table(title: str, rows: list[dict[str, Any]], *keys: str) -> None:
        used = [k for k in keys if any(row.get(k) is not None for row in rows)]
        if rows:
            show(rows, {k: word(k) for k in used}, title=word(title))

    def heading(key: str) -> None:
        out.print(word(key), style="bold")

    def line(text: str, style: str = "") -> None:
        out.print(shown(text), style=style, markup=False)

    line(f"{found.name}: {found.state}{' - ' + found.message if found.message else ''}", "bold")
    states = {"held": word("state_held")}
    for row in found.arrived:
        row["state"] = states.get(row["state"], row["state"])
    arrived = [{**r, "period": _period(r), "how_many": r["tables"]} for r in found.arrived]
    table("arrived", arrived, "hospital_id", "delivery_id", "kind", "period", "how_many", "rows", "state", "error_code")
    table("tables", found.tables, "hospital_id", "delivery_id", "table", "files", "rows")
    for row in found.stages:
        row["peak_mib"] = (row["peak_memory_bytes"] or 0) // 2**20 or None
    counts = ("rows_in", "rows_out", "quarantined", "superseded", "unparseable", "not_loaded")
    table("stages", found.stages, "stage", "state", *counts, "seconds", "cpu_seconds", "peak_mib", "started_at")
    for row in (r for r in found.stages if r["models"]):
        line(f"{word('slowest')}: {slowest(row['models'])}")
    gates = [{**r, "reasons": r["reasons"] or r["error_code"] or ""} for r in found.gates]
    table("gates", gates, "hospital_id", "delivery_id", "stage", "verdict", "reasons")
    rules = [{**r, "rate": _percent(r["rate"]), "threshold": _percent(r["threshold"])} for r in found.rules]
    table(
        "rules", rules, "stage", "table_name", "rule_id", "action", "rows_failed", "rows_checked", "rate", "threshold"
    )
    if found.stopped:
        heading("stopped")
        for stop in found.stopped:
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
        for one in found.held
        for e in one.endings
    ]
    table("held", ends, "hospital_id", "delivery_id", "table", "would_end", "standing", "share", "may")
    heading("ended")
    out.print(f"  {word('snapshot')}: {', '.join(map(str, found.snapshots)) or word('none')}")
    releases = ", ".join(f"{r['release_id']} ({r['state']})" for r in found.releases)
    serves = (
        f" ({word('serves').format(about=found.served)})" if not found.releases and found.served is not None else ""
    )
    out.print(f"  {word('release')}: {releases or word('none')}{serves}")
    heading("next")
    for step in found.next:
        line(f"  {word(step.kind).format(about=step.about)}")
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
