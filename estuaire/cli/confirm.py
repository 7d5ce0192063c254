"""`estuaire confirm`: lets a full delivery that is held be landed."""

from __future__ import annotations

from typing import Annotated

import typer

from estuaire.base.display_text import shown


def register(app: typer.Typer) -> None:
    app.command()(confirm)


def confirm(
    hospital: Annotated[str, typer.Argument(help="The hospital's id.")],
    delivery: Annotated[str, typer.Argument(help="The delivery that is held.")],
    by: Annotated[str, typer.Option(help="Who confirms that the export is whole.")],
    reason: Annotated[str, typer.Option(help="Why so many records end.")] = "",
) -> None:
    """Confirm that a full delivery may end as many records as it does; the next run lands it."""
    from estuaire.base.settings import settings
    from estuaire.deliveries.confirmation import confirm as confirmed
    from estuaire.storage.platform import Platform

    platform = Platform(settings())

    ends = confirmed(platform.database, hospital, delivery, by, reason)
    for table, (ended, standing) in sorted(ends.items()):
        typer.echo(f"{table}: ends {ended} of {standing} records")
    typer.echo(shown(f"{hospital}/{delivery} is confirmed by {by}; `estuaire run` lands it"))
