"""`estuaire serve PART`: what a container runs."""

from __future__ import annotations

from typing import Annotated

import typer

Part = Annotated[
    str,
    typer.Argument(
        help="postgres, api-server, scheduler, dag-processor, triggerer, spark-master, spark-worker or metrics."
    ),
]


def register(app: typer.Typer) -> None:
    app.command(hidden=True)(serve)


def serve(part: Part) -> None:
    """Be one part of the platform, in the foreground: the process of a container."""
    from estuaire.base.settings import settings
    from estuaire.stack import serve as parts

    parts.serve(settings(), part)
