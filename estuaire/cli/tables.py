"""Tables for people: as wide as the rows need; on a terminal that is too narrow, one record below the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import typer

from estuaire.base.display_text import shown

if TYPE_CHECKING:
    from estuaire.contract.registry import Registry

_ENDLESS = 100_000


def cell(value: object) -> str:
    """A value as people read it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return shown(str(value))


def slowest(seconds: Mapping[str, float], limit: int = 5) -> str:
    """The models that took longest, with their seconds: ``isolate_episode 8.1 s, ...``."""
    longest = sorted(seconds.items(), key=lambda one: (-one[1], one[0]))[:limit]
    return ", ".join(f"{shown(name)} {value:.1f} s" for name, value in longest)


def data_cell(value: object) -> str:
    """A value of a query's result: no sign between thousands (2025 may be a year, 38 a key), a whole number without decimals, any
    other with at most four, or four significant digits where it is small."""
    if isinstance(value, Decimal):
        value = int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        if value == int(value):
            return str(int(value))
        return f"{value:.4f}".rstrip("0") if abs(value) >= 0.1 else f"{value:.4g}"
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else cell(value)


def show(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    *,
    title: str = "",
    cell: Callable[[object], str] = cell,
) -> None:
    """Print rows; ``columns`` maps a row's key to its heading, ``cell`` writes a value. Numbers stand right. No character of a heading or
    value acts on the terminal (``estuaire.base.display_text``)."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = {key: shown(heading) for key, heading in columns.items()}
    console = Console()
    table = Table(title=title or None, title_justify="left")
    for key, heading in columns.items():
        values = [row.get(key) for row in rows]
        number = any(isinstance(v, int | float | Decimal) and not isinstance(v, bool) for v in values)
        table.add_column(Text(heading), justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell(row.get(key))) for key in columns))
    endless = Console(width=_ENDLESS)
    needed = endless.measure(table).maximum
    if not console.is_terminal or needed <= console.width:
        Console(width=max(needed, console.width)).print(table)
        return
    if title:
        console.print(title, style="bold")
    widest = max(len(h) for h in columns.values())
    for row in rows:
        for key, heading in columns.items():
            console.print(Text(f"{heading.rjust(widest)}  {cell(row.get(key))}"), soft_wrap=True)
        console.print()


def show_result(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a query's result."""
    show(
        [{str(i): v for i, v in enumerate(row)} for row in rows],
        {str(i): name for i, name in enumerate(columns)},
        cell=data_cell,
    )


def name_held_back(registry: Registry) -> None:
    """Say, beside a command's own answer, which hospitals the registry holds back, and why."""

    for hospital, error in sorted(registry.wrong.items()):
        typer.echo(shown(f"held back: {hospital}: {error.what}. What to do: {error.remedy}."), err=True)
