"""Charts as plain SVG, drawn here: no engine, no font, no script; each mark has a title, each word stands in both languages.

Why not Vega (docs/decisions/0007-report-charts.md): 2 to 3 s of a JavaScript engine for each chart and language, against a
page that must be built in 10 s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date

from markupsafe import Markup, escape

from estuaire.report.marts import Consumption, Coverage, Estimate, Exposure
from estuaire.report.texts import Text, month, number, same, text, word

NATIONAL_DDD = 312.0  # SPARES 2023, DDD per 1,000 patient-days, scope spares only (docs/domain/quality.md)
AWARE = {"Access": "#1b7f5c", "Watch": "#b86a00", "Reserve": "#a4243b"}
OTHER_CLASS = "#5b6672"
_HEAT = ("#fff3e4", "#fdd9b0", "#fbb47e", "#ee7d4f", "#cf4530", "#97201f", "#5f1016")
COVERED = {
    "ok": "#6fbf9f", "high": "#f0b64a", "low": "#e07b39", "zero": "#a61e2a",
    "few": "#d3e6ee", "no_reference": "#c9d0d6", "empty": "#7d8892",
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ colours


def heat(share: float) -> tuple[str, str]:
    """Background and text colour of a share of 1; the text keeps a contrast of at least 4.5 to 1."""
    place = min(max(share, 0.0), 1.0) * (len(_HEAT) - 1)
    low = min(int(place), len(_HEAT) - 2)
    rgb = [
        round(a + (b - a) * (place - low))
        for a, b in zip(_channels(_HEAT[low]), _channels(_HEAT[low + 1]), strict=True)
    ]
    background = "#" + "".join(f"{c:02x}" for c in rgb)
    return background, max("#ffffff", "#000000", key=lambda ink: contrast(ink, background))


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two colours."""
    first, second = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (first + 0.05) / (second + 0.05)


def _channels(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _luminance(colour: str) -> float:
    parts = [c / 255 for c in _channels(colour)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# ------------------------------------------------------------------------------------------------ drawing


class Drawing:
    """An SVG under construction: shapes are appended, then ``done`` gives the element with its name for a screen reader."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.parts: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>')

    def words(self, x: float, y: float, told: Text, css: str = "", anchor: str = "start", colour: str = "") -> None:
        """One text, or one per language where they differ."""
        fill = f' style="fill:{colour}"' if colour else ""
        for lang, words in (("", told.fr),) if told.fr == told.en else (("fr", told.fr), ("en", told.en)):
            language = f' lang="{lang}"' if lang else ""
            self.parts.append(
                f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}"{fill}{language}>{escape(words)}</text>'
            )

    def path(self, points: Sequence[tuple[float, float] | None], css: str, title: str = "", colour: str = "") -> None:
        """A line through the points, broken where one is missing; a point without neighbours becomes a dot."""
        moves, pen = [], False
        for i, point in enumerate(points):
            if point is None:
                pen = False
                continue
            alone = not pen and (i + 1 == len(points) or points[i + 1] is None)
            moves.append(f"{'L' if pen else 'M'}{point[0]:.1f} {point[1]:.1f}" + ("h.1" if alone else ""))
            pen = True
        style = f' style="stroke:{colour}"' if colour else ""
        told = f"<title>{escape(title)}</title>" if title else ""
        self.parts.append(f'<path d="{"".join(moves)}" class="{css}"{style}>{told}</path>')

    def rect(
        self, x: float, y: float, width: float, height: float, *, fill: str, title: str = "", css: str = ""
    ) -> None:
        told = f"<title>{escape(title)}</title>" if title else ""
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}" class="{css}">{told}</rect>'
        )

    def mark(self, x: float, y: float, css: str, title: str, *, shape: str = "circle", radius: float = 4) -> None:
        told = f"<title>{escape(title)}</title>"
        if shape == "circle":
            self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" class="{css}">{told}</circle>')
        elif shape == "square":
            self.parts.append(
                f'<rect x="{x - radius:.1f}" y="{y - radius:.1f}" width="{2 * radius:.1f}" height="{2 * radius:.1f}" class="{css}">{told}</rect>'
            )
        else:
            corners = (
                f"{x:.1f},{y - radius:.1f} {x + radius:.1f},{y:.1f} {x:.1f},{y + radius:.1f} {x - radius:.1f},{y:.1f}"
            )
            self.parts.append(f'<polygon points="{corners}" class="{css}">{told}</polygon>')

    def done(self, name: Text, css: str = "") -> Markup:
        return Markup(  # noqa: S704 - parts are numbers and escaped texts
            f'<svg viewBox="0 0 {self.width:.0f} {self.height:.0f}" style="min-width:{min(self.width, 640):.0f}px" role="img" '
            f'class="chart {css}" aria-label="{escape(name.both())}">{"".join(self.parts)}</svg>'
        )


def _ticks(highest: float) -> list[float]:
    step: float = 10 ** math.floor(math.log10(highest or 1))
    for factor in (0.2, 0.25, 0.5, 1, 2):
        if highest / (step * factor) <= 6:
            step *= factor
            break
    return [step * i for i in range(int(highest / step) + 2)]


# ------------------------------------------------------------------------------------------------ consumption

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 104, 26, 34


class _Months:
    """Frame of a chart by month: axes, year marks, and where a month and a value stand."""

    def __init__(self, months: Sequence[date], highest: float, height: float, unit: Text) -> None:
        self.drawing = Drawing(920, height)
        self.months = months
        ticks = _ticks(highest * 1.02)
        self.top = ticks[-1]
        self.floor = height - _BOTTOM
        for value in ticks:
            self.drawing.line(_LEFT, self.y(value), 920 - _RIGHT, self.y(value), "grid")
            self.drawing.words(_LEFT - 8, self.y(value) + 4, number(value, 1 if self.top < 5 else 0), "tick", "end")
        self.drawing.words(0, 13, unit, "unit")
        for i, m in enumerate(months):
            if m.month == 1 or i == 0:
                self.drawing.line(self.x(i), self.floor, self.x(i), self.floor + 5, "axis")
            if m.month == 1 or (i == 0 and m.month < 10) or len(months) <= 14:
                told = same(m.year) if m.month == 1 or len(months) > 14 else month(m)
                self.drawing.words(self.x(i), self.floor + 20, told, "tick", "middle")
        self.drawing.line(_LEFT, self.floor, 920 - _RIGHT, self.floor, "axis")

    def x(self, i: int) -> float:
        return _LEFT + 8 + i * (920 - _RIGHT - _LEFT - 16) / max(1, len(self.months) - 1)

    def y(self, value: float) -> float:
        return self.floor - (self.floor - _TOP) * value / self.top

    def points(self, values: Sequence[float | None]) -> list[tuple[float, float] | None]:
        return [None if v is None else (self.x(i), self.y(v)) for i, v in enumerate(values)]

    def readings(self, name: Text, values: Sequence[float | None], css: str) -> None:
        """Dots that cannot be seen, to be pointed at: month and value."""
        for i, v in enumerate(values):
            if v is not None:
                told = number(v, 1)
                self.drawing.mark(
                    self.x(i), self.y(v), css, f"{name.both()} · {self.months[i]:%Y-%m} · {told.both()}", radius=5
                )


def _known(values: Sequence[float | None]) -> list[float]:
    return [v for v in values if v is not None]


def consumption_trend(consumption: Consumption, names: Mapping[str, str]) -> Markup:
    """The group's consumption by month over the hospitals' own, faint; on scope spares the national figure."""
    shown = sorted(v for values in consumption.hospitals.values() for v in _known(values))
    # a hospital-month far beyond the others would flatten all: it is cut at the frame, the table has its number
    usual = shown[int(0.99 * (len(shown) - 1))] if shown else 0.0
    national = NATIONAL_DDD if consumption.scope == "spares" else 0.0
    frame = _Months(consumption.months, max([usual, national, *_known(consumption.total), 1.0]), 330, text("ddd_unit"))
    drawing = frame.drawing
    for hospital, values in consumption.hospitals.items():
        cut = [None if v is None else min(v, frame.top) for v in values]
        drawing.path(frame.points(cut), "faint", f"{hospital} {names.get(hospital, '')}".strip())
    if national:
        drawing.line(_LEFT, frame.y(national), 920 - _RIGHT, frame.y(national), "reference")
    drawing.path(frame.points(consumption.total), "strong")
    frame.readings(text("group"), consumption.total, "reading")
    if national:
        drawing.words(_LEFT + 12, frame.y(national) - 6, text("national_ddd"), "note")
    last = next((v for v in reversed(consumption.total) if v is not None), None)
    if last is not None:
        drawing.words(920 - _RIGHT + 6, frame.y(last) + 4, text("group"), "label")
    return drawing.done(text("consumption_title"))


def classes_trend(consumption: Consumption) -> Markup:
    """The group's consumption by month and AWaRe class, each line named at its end."""
    order = [c for c in AWARE if c in consumption.classes] + sorted(set(consumption.classes) - set(AWARE))
    highest = max([1.0, *(v for c in order for v in _known(consumption.classes[c]))])
    frame = _Months(consumption.months, highest, 260, text("ddd_unit"))
    placed: list[float] = []
    for name in sorted(order, key=lambda c: -(_known(consumption.classes[c]) or [0.0])[-1]):
        colour = AWARE.get(name, OTHER_CLASS)
        frame.drawing.path(frame.points(consumption.classes[name]), "strong", word("aware", name).both(), colour)
        frame.readings(word("aware", name), consumption.classes[name], "reading")
        known = _known(consumption.classes[name])
        if known:
            y = frame.y(known[-1]) + 4
            while any(abs(y - other) < 15 for other in placed):
                y -= 15
            placed.append(y)
            frame.drawing.words(920 - _RIGHT + 6, y, word("aware", name), "label", colour=colour)
    return frame.drawing.done(text("classes_title"))


# ------------------------------------------------------------------------------------------------ forest plot

_ROW, _HEAD, _PLOT = 25, 34, (330, 690)


def interval(estimate: Estimate | None) -> Text:
    """2,43 [1,57 – 3,76]; a dash where it could not be estimated."""
    if estimate is None or estimate.odds_ratio is None:
        return same("–")
    told = [number(v, 2) for v in (estimate.odds_ratio, estimate.low, estimate.high)]
    return Text(*(f"{t[0]} [{t[1]} – {t[2]}]" for t in zip(*told, strict=True)))


def forest(exposures: Sequence[Exposure], titles: Mapping[str, Text]) -> Markup:
    """Odds ratios on a log axis: per effect the main window first, then the sensitivities; crude hollow, adjusted filled."""
    rows: list[tuple[str, Exposure, Estimate | None]] = []
    heads: set[int] = set()
    for i, exposure in enumerate(exposures):
        if i == 0 or exposures[i - 1].effect != exposure.effect:
            heads.add(len(rows))
        rows.append(("crude", exposure, exposure.crude))
        rows.append(("adjusted", exposure, exposure.adjusted))
    values = [v for _, e, s in rows for v in ((s.low, s.high, s.odds_ratio, e.planted) if s else ()) if v and v > 0]
    low = max(min([0.5, *values]) * 0.9, 0.05)
    high = min(max([4.0, *values]) * 1.1, 100.0)
    height = 48 + _ROW * len(rows) + _HEAD * len(heads) + 8
    drawing = Drawing(920, height)

    def x(value: float) -> float:
        share = (math.log(min(max(value, low), high)) - math.log(low)) / (math.log(high) - math.log(low))
        return _PLOT[0] + share * (_PLOT[1] - _PLOT[0])

    floor = height - 34
    for tick in (t for t in (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 50) if low <= t <= high):
        drawing.line(x(tick), 14, x(tick), floor, "unity" if tick == 1 else "grid")
        digits = 0 if tick >= 1 else 2 if tick == 0.25 else 1
        drawing.words(x(tick), floor + 17, number(tick, digits), "tick", "middle")
    drawing.words((_PLOT[0] + _PLOT[1]) / 2, floor + 31, text("odds_axis"), "tick", "middle")
    drawing.words(915, 10, text("odds_column"), "unit", "end")
    y = 4.0
    for i, (kind, exposure, estimate) in enumerate(rows):
        if i in heads:
            y += _HEAD
            drawing.words(0, y - 8, titles[exposure.effect], "head")
        middle = y + _ROW / 2
        if kind == "crude":
            if exposure.main:
                drawing.parts.insert(
                    0, f'<rect x="0" y="{y:.1f}" width="920" height="{2 * _ROW}" class="band" rx="4"/>'
                )
            drawing.words(10, middle + 4, window(exposure), "label" if exposure.main else "quiet")
        drawing.words(_PLOT[0] - 12, middle + 4, text(f"{kind}_short"), "quiet", "end")
        told = interval(estimate)
        if estimate is not None and estimate.odds_ratio is not None:
            if estimate.low is not None and estimate.high is not None:
                drawing.line(x(estimate.low), middle, x(estimate.high), middle, f"whisker {kind}")
            shape = "circle" if kind == "crude" else "square"
            title = f"{text(f'{kind}_short').both()} · {told.both()}"
            drawing.mark(x(estimate.odds_ratio), middle, kind, title, shape=shape, radius=4.5)
        if kind == "adjusted" and exposure.planted:
            title = text("planted_mark", value=number(exposure.planted, 2)).both()
            drawing.mark(x(exposure.planted), middle, "planted", title, shape="diamond", radius=8)
        drawing.words(915, middle + 4, told, "label" if kind == "adjusted" and exposure.main else "quiet", "end")
        y += _ROW
    return drawing.done(text("forest_title"), "forest")


def window(exposure: Exposure) -> Text:
    """The exposure window in words."""
    if exposure.excluded_last_days:
        return text("window_without", days=exposure.window_days, last=exposure.excluded_last_days)
    return text("window_main" if exposure.main else "window_days", days=exposure.window_days)


# ------------------------------------------------------------------------------------------------ coverage


def coverage_strip(coverage: Coverage, names: Mapping[str, str]) -> Markup:
    """Hospital x month, coloured by the worst table of the month; months of one status in a row are one mark."""
    left, row = 190, 15
    width, height = 920, 26 + row * len(coverage.hospitals) + 4
    step = (width - left) / max(1, len(coverage.months))
    drawing = Drawing(width, height)
    for i, m in enumerate(coverage.months):
        if m.month == 1 or i == 0:
            drawing.line(left + i * step, 14, left + i * step, height, "grid")
        if m.month == 1 or (i == 0 and m.month < 9):
            drawing.words(left + i * step + 3, 12, same(m.year), "tick")
    for j, hospital in enumerate(coverage.hospitals):
        top = 22 + j * row
        name = f"{hospital}  {names.get(hospital, '')}"
        name = (name if len(name) <= 30 else f"{name[:29]}…") + (" *" if hospital in coverage.outside_group else "")
        drawing.words(0, top + 11, same(name), "strip")
        i = 0
        while i < len(coverage.months):
            status = coverage.status.get((hospital, coverage.months[i]))
            end = i + 1
            while end < len(coverage.months) and coverage.status.get((hospital, coverage.months[end])) == status:
                end += 1
            if status is not None:
                span = f"{coverage.months[i]:%Y-%m}" + (f" → {coverage.months[end - 1]:%Y-%m}" if end - i > 1 else "")
                drawing.rect(
                    left + i * step, top, (end - i) * step - 0.6, row - 2, fill=COVERED.get(status, COVERED["no_reference"]),
                    title=f"{hospital} · {span} · {text(f'coverage_{status}').both()}",
                )  # fmt: skip
            i = end
    return drawing.done(text("coverage_title"))
