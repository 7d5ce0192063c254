"""Writes the page: data in, one HTML text out. Escaping is the template's default; nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from estuaire import __version__
from estuaire.report import charts, texts
from estuaire.report.data import ALL, GATES, Delivery, Quarantined, RuleResult, RunData
from estuaire.report.marts import Marts
from estuaire.report.texts import Text, counted, duration, number, percent, same, size, text, word

FOLDER = Path(__file__).parent
_SIGNS = {"pass": "✓", "warn": "!", "held": "?", "block": "✕", "none": "–"}
_SECTIONS = ("todo", "verdicts", "rules", "quarantine", "arrived", "costs", "accounting", "antibiogram", "consumption",
             "forest", "coverage", "outside")  # fmt: skip
_HALVED = 16  # from so many hospitals on, the verdicts stand in two columns
# The page works without it (French, then the switch is CSS). It only picks the browser's language and names it for readers.
_SCRIPT = (
    "(function(){var e=document.getElementById('lang-en'),f=document.getElementById('lang-fr'),"
    "n=function(){document.documentElement.lang=e.checked?'en':'fr'};"
    "if(!/^fr/i.test(navigator.language||'fr'))e.checked=true;n();e.onchange=f.onchange=n})();"
)


@dataclass(frozen=True)
class _ByRule:
    table: str
    disposition: str
    labels: tuple[Text, ...]
    rule_ids: str
    records: int
    still_open: int
    hospitals: int


@dataclass(frozen=True)
class _ByHospital:
    hospital: str
    deliveries: int
    rows: int
    bytes: int
    states: list[tuple[str, int]]


def render(run: RunData, marts: Marts, written_at: datetime) -> str:
    """The whole page of one run."""
    broken = [r for r in run.rules if r.outcome in ("error", "block", "warn", "quarantine")]
    seconds = (run.ended_at - run.started_at).total_seconds() if run.ended_at else None
    exposures = marts.exposures or []
    return _environment().get_template("page.html.j2").render(
        run=run,
        marts=marts,
        sentence=_sentence(run),
        served_sentence=_served(run, marts),
        stale=run.state in ("failed", "running") or run.release is None
        or (marts.served is not None and run.release != marts.served.release_id),
        seconds=seconds,
        tiles=_tiles(run, marts, seconds),
        sections=[(s, f"nav_{s}") for s in _SECTIONS],
        grids=_grids(run),
        broken=broken,
        kept=[r for r in run.rules if r not in broken],
        by_rule=_by_rule(run.quarantined),
        by_hospital=_by_hospital(run.deliveries),
        slowest=max((s.seconds or 0 for s in run.stages), default=0) or 1,
        effects={
            e.effect: told
            if (told := word("effect", e.effect)) != same(e.effect)
            else text("effect_line", atc=e.atc, organism=e.organism, agent=e.agent)
            for e in exposures
        },
        planted=any(e.planted for e in exposures),
        written_at=written_at,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    environment.globals.update(
        text=text, word=word, number=number, percent=percent, size=size, duration=duration, moment=texts.moment,
        month=texts.month, period=texts.period, heat=charts.heat, covered=charts.COVERED, interval=charts.interval,
        window=charts.window, consumption_trend=charts.consumption_trend, classes_trend=charts.classes_trend,
        forest=charts.forest, coverage_strip=charts.coverage_strip, gates=GATES, signs=_SIGNS, bar=_bar,
        style=Markup((FOLDER / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        script=Markup(_SCRIPT),  # noqa: S704 - our own constant
        script_hash=digest, version=__version__,
    )  # fmt: skip
    return environment


# ------------------------------------------------------------------------------------------------ what is said


def _sentence(run: RunData) -> Text:
    landed = [d for d in run.deliveries if d.state == "landed"]
    blocked = sum(d.state == "blocked" for d in run.deliveries)
    later = sum(v.verdict == "block" and v.stage != "landed" for v in run.verdicts.values())
    said = counted(
        "landed",
        len(landed),
        hospitals=counted("n_hospitals", len({d.hospital for d in landed})),
        rows=counted("n_rows", sum(d.rows for d in landed)),
    )
    if run.state in ("blocked", "held"):
        held = sum(d.state == "held" for d in run.deliveries)
        return counted(f"what_{run.state}", held if run.state == "held" else blocked + later, landed=said)
    return text(f"what_{run.state}", landed=said)


def _served(run: RunData, marts: Marts) -> Text:
    if marts.served is None:
        return text("served_none")
    release = str(marts.served.release_id)
    if run.release == marts.served.release_id:
        return text("served_by_run", release=release)
    return text("served_other", release=release, at=marts.served.built_at)


def _tiles(run: RunData, marts: Marts, seconds: float | None) -> list[tuple[Text, Text, Text]]:
    became = {
        state: counted(f"n_{state}", sum(d.state == state for d in run.deliveries)) for state in ("landed", "blocked")
    }
    came_in = sum(b.rows_in for b in run.balances if b.stage == "land")
    aside = sum(q.records for q in run.quarantined)
    passed = run.counted("pass")
    gates = Text(f"{passed}\u00a0/\u00a0{len(run.verdicts)}", f"{passed}\u00a0/\u00a0{len(run.verdicts)}")
    cpu = sum(s.cpu_seconds or 0 for s in run.stages)
    tiles = [
        (
            text("tile_deliveries"),
            number(len(run.deliveries)),
            text("tile_deliveries_held", **became, held=held)
            if (held := sum(d.state == "held" for d in run.deliveries))
            else text("tile_deliveries_note", **became),
        ),
        (
            text("tile_rows"),
            number(sum(d.rows for d in run.deliveries)),
            text(
                "tile_rows_note",
                bytes=size(sum(d.bytes for d in run.deliveries)),
                hospitals=counted("n_hospitals", len({d.hospital for d in run.deliveries})),
            ),
        ),
        (
            text("tile_quarantined"),
            number(aside),
            text("tile_quarantined_note", rate=percent(aside / came_in if came_in else None, 2)),
        ),
        (
            text("tile_gates"),
            gates,
            text(
                "tile_gates_note",
                warned=counted("n_warnings", run.counted("warn")),
                blocked=counted("n_blocks", run.counted("block")),
            ),
        ),
        (text("tile_time"), duration(seconds), text("tile_time_note", cpu=duration(cpu))),
    ]
    if marts.served is not None:
        note = text("tile_release_note", snapshot=str(marts.served.lake_snapshot))
        tiles.append((text("tile_release"), same(marts.served.release_id), note))
    return tiles


# ------------------------------------------------------------------------------------------------ how it is arranged


def _grids(run: RunData) -> list[list[str]]:
    """Hospitals of the verdict grid: all together first where a gate judged them so; in two columns where they are many."""
    judged = {h for h, _ in run.verdicts}
    hospitals = [*run.hospitals, *sorted(judged - set(run.hospitals) - {ALL})]
    rows = ([ALL] if ALL in judged else []) + hospitals
    half = (len(rows) + 1) // 2
    return [rows[:half], rows[half:]] if len(rows) >= _HALVED else [rows]


def _by_rule(quarantined: list[Quarantined]) -> list[_ByRule]:
    grouped: dict[tuple[str, str, str], list[Quarantined]] = {}
    for q in quarantined:
        grouped.setdefault((q.table, q.disposition, q.rule_ids), []).append(q)
    by_rule = [
        _ByRule(
            table, disposition, same_rule[0].labels, rule_ids,
            sum(q.records for q in same_rule), sum(q.still_open for q in same_rule), len({q.hospital for q in same_rule}),
        )
        for (table, disposition, rule_ids), same_rule in grouped.items()
    ]  # fmt: skip
    return sorted(by_rule, key=lambda r: (-r.records, r.table, r.rule_ids))


def _by_hospital(deliveries: list[Delivery]) -> list[_ByHospital]:
    grouped: dict[str, list[Delivery]] = {}
    for d in deliveries:
        grouped.setdefault(d.hospital, []).append(d)
    return [
        _ByHospital(h, len(ds), sum(d.rows for d in ds), sum(d.bytes for d in ds), Counter(d.state for d in ds).most_common())
        for h, ds in sorted(grouped.items())
    ]  # fmt: skip


def _bar(rule: RuleResult) -> float:
    """Length of a rule's bar in percent: half of it is the threshold; without one, the rate itself."""
    if rule.rate is None:
        return 0.0
    if rule.threshold:
        return round(min(100.0, 50.0 * rule.rate / rule.threshold), 1)
    return round(100.0 * rule.rate, 1)
