"""The `estuaire` command.

Each module of this package has a `register(app)` that adds its commands; it imports what a command needs inside that
command, so that `estuaire --help` stays quick.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys

import typer

from estuaire.base import private_files
from estuaire.base.errors import EstuaireError, LibraryMissing

FIRST = "stack"  # its commands come first in --help; then the other modules by name

app = typer.Typer(
    name="estuaire",
    help="Consolidates the extracts of many hospitals into curated, quality-gated marts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def build() -> typer.Typer:
    """The application with the commands of every module of this package that has a `register`."""
    names = sorted((module.name for module in pkgutil.iter_modules(__path__)), key=lambda name: (name != FIRST, name))
    for name in names:
        register = getattr(importlib.import_module(f"{__name__}.{name}"), "register", None)
        if register is not None:
            register(app)
    return app


def _run() -> None:
    """Run the command that was typed.

    Raises:
        LibraryMissing: it needs a library that is not installed, such as the platform's in a hospital's installation.
    """
    try:
        build()()
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", "estuaire"):
            raise
        from estuaire.base.settings import CARRIED

        here = "run it where the platform is installed: the hospitals' package is for `deliver`, `guide`, `codes` and `simulate`"
        raise LibraryMissing(
            f"this command needs the library {library}, which is not installed",
            remedy=here if CARRIED else "install the platform's libraries: `make setup`",
        ) from error


def main() -> None:
    """Entry point. An EstuaireError is one readable line and its exit code; ESTUAIRE_DEBUG=1 shows the traceback."""
    private_files.start()
    try:
        _run()
    except EstuaireError as error:
        if os.environ.get("ESTUAIRE_DEBUG") == "1":
            raise
        from rich.console import Console
        from rich.text import Text

        Console(stderr=True, soft_wrap=True).print(Text(error.sentence(), style="red"))
        sys.exit(error.exit_code)
