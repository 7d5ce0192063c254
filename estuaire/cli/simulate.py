"""`estuaire simulate`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer


def _hospitals(wanted: str, known: list[str]) -> tuple[str, ...]:
    """``3`` is the first three of the registry; ``h01,h03`` are those."""
    from estuaire.base.errors import SetupError

    if not wanted.isdigit():
        return tuple(h.strip() for h in wanted.split(",") if h.strip())
    if not 1 <= int(wanted) <= len(known):
        raise SetupError(
            f"the registry holds {len(known)} fictional hospitals, not {wanted}", remedy=f"ask for 1 to {len(known)}"
        )
    return tuple(known[: int(wanted)])


def _pairs(texts: list[str]) -> tuple[tuple[str, str], ...]:
    return tuple((text.partition(":")[0], text.partition(":")[2]) for text in texts)


def telling(progress: Callable[[str], None], hospitals: int) -> Callable[[str, int], None]:
    """A listener of ``simulate`` that tells each hospital drawn (no records yet), then written."""
    drawn: list[str] = []
    written: list[int] = []

    def tell(hospital: str, rows: int) -> None:
        if rows:
            written.append(rows)
            progress(f"simulated {hospital}: {len(written)} of {hospitals} hospitals, {sum(written):,} records")
        else:
            drawn.append(hospital)
            progress(f"drew the people and stays of {hospital}: {len(drawn)} of {hospitals} hospitals")

    return tell


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def simulate(
        hospitals: Annotated[str, typer.Option(help="How many, or their ids: 3, or h01,h03.")] = "3",
        patients: Annotated[int, typer.Option(min=1, help="People in all.")] = 600,
        seed: Annotated[int, typer.Option(min=0)] = 1,
        workers: Annotated[int, typer.Option(min=1, help="Processes; the bytes do not depend on it.")] = min(
            2, os.cpu_count() or 1
        ),
        until: Annotated[str, typer.Option(help="Last month, YYYY-MM.")] = "2025-12",
        years: Annotated[int, typer.Option(min=1, max=20, help="Length of the history.")] = 5,
        deliveries: Annotated[int, typer.Option(min=1, help="One full delivery, then monthly deltas.")] = 3,
        only_deliveries: Annotated[int | None, typer.Option(min=1, help="Write the first N deliveries only.")] = None,
        administrations: Annotated[float, typer.Option(min=1, help="Mean administrations per patient.")] = 240.0,
        bad_checksum: Annotated[
            list[str] | None, typer.Option(help="hospital:delivery whose manifest declares a wrong checksum.")
        ] = None,
        into: Annotated[Path | None, typer.Option(help="Another folder for landing/ and simulation/.")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print a summary for machines.")] = False,
    ) -> None:
        """Write the simulated deliveries of fictional hospitals into landing."""
        from rich.console import Console

        from estuaire.base.settings import settings
        from estuaire.cli.progress import Progress
        from estuaire.contract.registry import load_registry
        from estuaire.simulator import SimulationPlan
        from estuaire.simulator import simulate as run

        configured = settings()
        registry = load_registry(configured.registry_dir)
        fictional = [h.id for h in registry.hospitals.values() if h.fictional]
        plan = SimulationPlan(
            hospitals=_hospitals(hospitals, fictional),
            patients=patients,
            administrations_per_patient=administrations,
            years=years,
            until=until,
            deliveries=deliveries,
            seed=seed,
            upto_sequence=only_deliveries,
            bad_checksum=_pairs(bad_checksum or []),
        )
        console = Console(stderr=True)
        with Progress(console, f"simulating {len(plan.hospitals)} hospitals, {patients:,} patients") as progress:
            summary = run(
                configured, plan, workers=workers, target=into, listener=telling(progress, len(plan.hospitals))
            )
        if as_json:
            typer.echo(json.dumps(summary.as_dict()))
            return
        written = sum(d.state == "written" for d in summary.deliveries)
        typer.echo(
            f"{len(summary.deliveries)} deliveries, {summary.rows:,} records in {summary.seconds:.1f} s; "
            f"{written} written, {len(summary.deliveries) - written} there already with the same bytes."
        )
