"""Tables for people: as wide as the rows need; on a terminal that is too narrow, one record below the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

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
    return str(value)


def show(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, title: str = "") -> None:
    """Print rows; ``columns`` maps a row's key to its heading. Numbers stand right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(title=title or None, title_justify="left")
    for key, heading in columns.items():
        values = [row.get(key) for row in rows]
        number = any(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
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
    """Print a query's result; two columns may have one name."""
    from decimal import Decimal

    def plain(value: object) -> object:
        return float(value) if isinstance(value, Decimal) else value

    show(
        [{str(i): plain(v) for i, v in enumerate(row)} for row in rows],
        {str(i): name for i, name in enumerate(columns)},
    )
