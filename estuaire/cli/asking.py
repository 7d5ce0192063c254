"""A question before something that cannot be undone."""

from __future__ import annotations

import sys

import typer

from estuaire.base.errors import NotConfirmed


def ask(question: str, *, otherwise: str) -> None:
    """Go on only where a person says yes.

    Args:
        otherwise: how to do it where nobody can be asked.

    Raises:
        NotConfirmed: nobody is there, or the answer was no.
    """
    if not sys.stdin.isatty():
        raise NotConfirmed("nobody is there to say yes (no terminal)", remedy=otherwise)
    if not typer.confirm(question):
        raise NotConfirmed("nothing was removed", remedy=f"nothing to do; {otherwise}")
