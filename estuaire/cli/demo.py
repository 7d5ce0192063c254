"""`estuaire demo`: the whole chain once, on simulated hospitals; `estuaire clean`: away with all but landing/."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from estuaire.base.display_text import shown

if TYPE_CHECKING:
    from estuaire.cli.progress import Progress
    from estuaire.simulator import SimulationPlan

FULL_PATIENTS = 50_000
FULL_DISK_GIB, FULL_MEMORY_GIB = 20.0, 8.0  # what a run of this size took, with room to spare (docs/benchmarks.md)
FIRST_QUERY = (
    "select hospital_id, month, patient_days, ddd_per_1000_patient_days, dot_per_1000_patient_days from antibiotic_consumption "
    "where grouping = 'total' and scope = 'spares' and month between '2025-10-01' and '2026-09-30' order by hospital_id, month"
)
HEADS = {  # {group}: all hospitals together
    "cumulative_antibiogram": "select species_name, agent_code, isolates, tested, resistant, pct_resistant from cumulative_antibiogram "
    "where hospital_id = {group} and dedup_scope = {group} and method = 'm39' and among = 'tested' and breakpoint_indication = 'general' "
    "and specimen_nature = 'all' and not below_30 "
    "and year = (select max(year) from cumulative_antibiogram where hospital_id = {group}) order by tested desc, species_name, agent_code limit 8",
    "exposure_resistance": "select effect, window_days, excluded_last_days, estimate, odds_ratio, ci_low, ci_high, index_isolates "
    "from exposure_resistance order by window_days <> 90 or excluded_last_days <> 0, effect, window_days, excluded_last_days, estimate limit 8",
}


def register(app: typer.Typer) -> None:
    app.command()(demo)
    app.command()(clean)


def demo(
    patients: Annotated[int, typer.Option(help="People in the simulated world.")] = 3_000,
    hospitals: Annotated[int, typer.Option(help="How many of the registry's fictional hospitals deliver.")] = 37,
    deliveries: Annotated[int, typer.Option(help="Of each hospital: one full history, then monthly deltas.")] = 3,
    seed: Annotated[int, typer.Option(help="Same seed, same deliveries.")] = 1,
    full: Annotated[bool, typer.Option("--full", help="The study's size: 50,000 patients, 15 million rows.")] = False,
    real: Annotated[
        bool, typer.Option("--real", help="Hospital 38 beside them: the MIMIC-IV demo in ESTUAIRE_REAL_DATA.")
    ] = False,
) -> None:
    """Start the stack, simulate the hospitals' deliveries, run the DAGs, and show the first numbers."""
    from rich.console import Console

    from estuaire.base.addresses import public_url
    from estuaire.base.errors import FollowingStopped
    from estuaire.base.settings import settings
    from estuaire.cli import stack
    from estuaire.cli.progress import Progress
    from estuaire.deliveries import real_data
    from estuaire.operations.pipeline_run import follow
    from estuaire.report.serving import address
    from estuaire.simulator import SimulationPlan
    from estuaire.stack import preflight
    from estuaire.storage.platform import Platform
    from estuaire.warehouse.query import run_query

    platform = Platform(settings())

    began = time.monotonic()
    if real:
        real_data.check(platform.settings)
    if full:
        patients = FULL_PATIENTS
        preflight.check_room(platform.settings, disk_gib=FULL_DISK_GIB, memory_gib=FULL_MEMORY_GIB)
    console = Console(stderr=True)
    try:
        stack.up()
        fictional = [h.id for h in platform.registry.hospitals.values() if h.fictional]
        plan = SimulationPlan(
            hospitals=tuple(fictional[:hospitals]), patients=patients, deliveries=deliveries, seed=seed
        )
        with Progress(console, "simulating the hospitals' deliveries") as progress:
            _simulated(plan, progress)
        if real:
            handed_in = real_data.deliver(platform)
            typer.echo(f"Hospital 38: delivery {handed_in.manifest.delivery_id} {handed_in.state.replace('_', ' ')}.")
        with Progress(console, "running the pipeline") as progress:
            result = follow(platform, progress)
    except KeyboardInterrupt:
        raise FollowingStopped(
            "the demo has stopped before its run began", remedy="`estuaire demo` again goes on from what is done"
        ) from None
    for sentence in result.blocked:
        typer.echo(shown(f"BLOCKED {sentence}"))
    typer.echo(f"{shown(result.message)}. The whole demo took {time.monotonic() - began:.0f} s.\n")
    from estuaire.cli.tables import show_result

    typer.echo(f'estuaire query "{FIRST_QUERY}"')
    first = run_query(platform, FIRST_QUERY)
    show_result(first.columns, first.rows)
    _show_heads()
    _show_planted()
    if real:
        typer.echo(
            f"\nHospital 38: {real_data.accounts(platform)}\n  balance     {real_data.folder(platform.settings) / 'balance.json'}"
        )
    typer.echo(
        f"""
What to open and what to try:
  report      {result.report or "none: nothing new was done; `estuaire report` writes the last run's"}
              {address(platform.settings)} (the same, behind Airflow's login)
  Airflow     {public_url(platform.settings)}   user admin, password in {platform.settings.secrets_path}/airflow_admin
  runs        .venv/bin/estuaire runs
  explain     .venv/bin/estuaire explain
  accounting  .venv/bin/estuaire accounting
  query       .venv/bin/estuaire query "select * from antibiotic_consumption"
  releases    .venv/bin/estuaire releases
  stop        make down"""
    )


def _show_heads() -> None:
    """The first rows of two marts, each after the query that gives them."""
    from estuaire.base.settings import settings
    from estuaire.base.sql import literal
    from estuaire.cli.tables import show_result
    from estuaire.contract.registry import GROUP
    from estuaire.storage.platform import Platform
    from estuaire.warehouse.query import run_query

    platform = Platform(settings())

    for name, text in HEADS.items():
        head = run_query(platform, text.format(group=literal(GROUP)))
        typer.echo(f"\nHead of {name}:")
        show_result(head.columns, head.rows)


def _show_planted() -> None:
    """The platform's estimates beside what the simulation planted; nothing where the data is not simulated."""
    from estuaire.base.settings import settings
    from estuaire.cli.tables import show
    from estuaire.report.marts import read
    from estuaire.report.planted_comparison import beside
    from estuaire.storage.platform import Platform

    platform = Platform(settings())

    rows = beside(platform, read(platform).exposures or [])
    if rows:
        typer.echo("")
        show(rows, {key: key for key in rows[0]}, title="What the simulation planted, and what the platform found")


def _simulated(plan: SimulationPlan, progress: Progress) -> None:
    """Write the plan's deliveries, or say that an earlier demo wrote them all."""
    from estuaire.base.settings import settings
    from estuaire.cli.simulate import telling
    from estuaire.simulator import already_written, simulate

    there = already_written(settings(), plan)
    if there is not None:
        progress(f"the deliveries of {len(plan.hospitals)} hospitals are there already: {there:,} records")
        return
    summary = simulate(settings(), plan, workers=2, listener=telling(progress, len(plan.hospitals)))
    progress(f"{len(summary.deliveries)} deliveries of {len(plan.hospitals)} hospitals, {summary.rows:,} records")


def clean(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    secrets: Annotated[
        bool,
        typer.Option(
            "--secrets", help="The secrets, too: whatever was delivered gets other pseudonyms from then on, for ever."
        ),
    ] = False,
) -> None:
    """Remove the database, the lake and the logs of this installation; landing/ stays as hospitals delivered it, and the secrets stay."""
    from estuaire.base.errors import SetupError
    from estuaire.base.settings import settings
    from estuaire.cli.asking import ask
    from estuaire.operations import cleaning
    from estuaire.stack import lifecycle
    from estuaire.storage.platform import Platform

    configured = settings()
    if any(part.state != "stopped" for part in lifecycle.status(configured)):
        raise SetupError("the stack is running", remedy="run `estuaire down` first")
    going = cleaning.plan(configured, secrets=secrets)
    if not going:
        typer.echo("There is nothing to remove.")
        return
    for line in going.lines():
        typer.echo(line)
    if not yes:
        ask("Remove these for good?", otherwise="`estuaire clean --yes` removes without asking")
    cleaning.remove(Platform(configured).store, going)
    typer.echo(f"Removed; kept {', '.join(map(str, going.kept))}" if going.kept else "Removed")
