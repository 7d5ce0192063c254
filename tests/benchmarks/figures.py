"""Puts what a benchmark measured into docs/benchmarks.md, between its two marks, and its plot into docs/benchmarks/."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from estuaire.base.settings import PROJECT_ROOT
from estuaire.report.charts import Drawing
from estuaire.report.texts import same

PAGE = PROJECT_ROOT / "docs" / "benchmarks.md"
_STYLE = "text{font:12px sans-serif;fill:#1c2733}.axis{stroke:#c9d0d6}.title{font-weight:bold}.round{fill:#1c2733}"
_LEFT, _RIGHT, _BAR, _TOP = 150, 90, 26, 34
_COLOURS = ("#1b7f5c", "#3f6fb0", "#b86a00", "#8fa9cc", "#dcb27a")


def marks(section: str) -> tuple[str, str]:
    """The lines between which a section's figures stand."""
    return f"<!-- {section}:begin -->", f"<!-- {section}:end -->"


def write(section: str, lines: Sequence[str], page: Path = PAGE) -> None:
    """Replace a section's figures.

    Raises:
        ValueError: the page does not hold both marks, once each and in this order.
    """
    text = page.read_text(encoding="utf-8")
    begin, end = marks(section)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{page.name} does not hold the marks {begin} and {end}")
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    page.write_text(before + "\n".join([begin, *lines, end]) + after, encoding="utf-8")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    return [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)]


def measured_on() -> str:
    """When, of which commit, and how busy the machine was: the load over the last minute on so many cores."""
    done = subprocess.run(
        ["git", "-C", str(PROJECT_ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    commit = done.stdout.strip() or "unknown"
    return f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def bars(
    path: Path, title: str, unit: str, rounds: Mapping[str, Sequence[float]], medians: Mapping[str, float]
) -> None:
    """A bar for each label, of its median, with a dot for each round."""
    width, height = 640, _TOP + _BAR * len(rounds) + 10
    drawing = Drawing(width, height)
    highest = max(value for values in rounds.values() for value in values)
    scale = (width - _LEFT - _RIGHT) / highest
    drawing.words(0, 16, same(title), "title")
    for n, (label, values) in enumerate(rounds.items()):
        top = _TOP + n * _BAR
        told = f"{medians[label]:.2f} {unit}"
        drawing.words(_LEFT - 8, top + 15, same(label), anchor="end")
        drawing.rect(_LEFT, top + 3, medians[label] * scale, _BAR - 9, fill=_COLOURS[n % len(_COLOURS)], title=told)
        for value in values:
            drawing.mark(_LEFT + value * scale, top + 3 + (_BAR - 9) / 2, "round", f"{value:.2f} {unit}", radius=2)
        drawing.words(_LEFT + max(values) * scale + 8, top + 15, same(told))
    drawing.line(_LEFT, _TOP, _LEFT, height - 8, "axis")
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">'
        f'<title>{Markup.escape(title)}</title><style>{_STYLE}</style><rect width="{width}" height="{height}" fill="#fff"/>'
        f"{''.join(drawing.parts)}</svg>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(svg, encoding="utf-8")
