"""What the served release says: antibiogram, consumption, exposure and resistance, coverage. Pure readings of the published marts.

Security property: read as the role ``analyst`` in one read-only transaction, from aggregated marts only: the page can hold nothing that
an analyst may not read, and no two releases mixed. A mart that is not there yet, or that cannot be read, is None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any, TypeVar

import psycopg2
import structlog
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import RealDictCursor

from estuaire.contract.registry import GROUP
from estuaire.report.planted import Planted, matching, planted_effects
from estuaire.rules.rule_registry import Rule, stage_rules
from estuaire.rules.rule_subset import translated
from estuaire.storage.platform import Platform

_log = structlog.get_logger(__name__)
_Panel = TypeVar("_Panel")
MIN_ISOLATES = 30  # CLSI M39: fewer isolates give no percentage
SPECIES, AGENTS = 14, 22  # most of each that a heat map shows
_TIMEOUT_MS = 30_000


@dataclass(frozen=True)
class Served:
    """The release that is served. One row of the mart ``release``."""

    release_id: int
    lake_snapshot: int
    built_at: datetime
    code_version: str


@dataclass(frozen=True)
class Cell:
    """One species and agent: isolates tested and resistant; ``share`` is None below 30."""

    tested: int
    resistant: int
    below_30: bool

    @property
    def share(self) -> float | None:
        return None if self.below_30 or not self.tested else self.resistant / self.tested


@dataclass(frozen=True)
class Antibiogram:
    """The group, or one hospital; method m39, all specimens. ``species`` and ``agents``: (code, name), most isolates first, agents by name.

    ``periods``: the latest year, and all years together (0).
    """

    species: list[tuple[str, str]]
    agents: list[tuple[str, str]]
    periods: dict[int, dict[tuple[str, str], Cell]]
    isolates: dict[int, dict[str, int]]

    @property
    def latest(self) -> int:
        return max(self.periods)


@dataclass(frozen=True)
class Consumption:
    """DDD per 1,000 patient-days by month. ``total`` and ``classes`` are the group's, ``hospitals`` each hospital's total.

    ``covered``: per month the hospitals that count, and those expected.
    """

    scope: str
    months: list[date]
    total: list[float | None]
    classes: dict[str, list[float | None]]
    hospitals: dict[str, list[float | None]]
    covered: list[tuple[int, int]]


@dataclass(frozen=True)
class Estimate:
    """One odds ratio with its 95 % interval: crude, or Mantel-Haenszel over the strata."""

    estimate: str
    odds_ratio: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Exposure:
    """One effect in one window. ``planted``: the odds ratio that a simulation planted, on simulated data only."""

    effect: str
    atc: str
    organism: str
    agent: str
    window_days: int
    excluded_last_days: int
    index_isolates: int | None
    not_observable: int | None
    strata: int | None
    crude: Estimate | None
    adjusted: Estimate | None
    planted: float | None = None
    unrestricted: Estimate | None = None  # adjusted, of everybody: prior hospitalisation confounds it

    @property
    def main(self) -> bool:
        return (self.window_days, self.excluded_last_days) == (90, 0)


@dataclass(frozen=True)
class Coverage:
    """Hospital x month: the worst status over tables. ``findings``: (hospital, month, table, status, records, expected) not ok.

    ``judged`` of ``cells`` hospital-months have a table of which chance does not explain the volume. The others' status is few (there is
    a reference, and too few records to judge), no_reference, or empty (no record of any table).
    """

    months: list[date]
    hospitals: list[str]
    status: dict[tuple[str, date], str]
    findings: list[tuple[str, date, str, str, int, float | None]]
    outside_group: set[str]
    judged: int
    cells: int


@dataclass(frozen=True)
class UncountedDoses:
    """A hospital's doses over its covered months, those that no DDD counts, and those of drugs without a code, which no rate counts.

    ``many``: of either more than gate 4 lets pass, so that the rates of this hospital are too low by an unknown amount.
    """

    hospital: str
    doses: int
    without_ddd: int
    unmapped: int
    many: bool


@dataclass(frozen=True)
class OwnConsumption:
    """One hospital and scope over its covered months: DDD, days of therapy, days with any antibiotic; nights in full hospitalisation."""

    scope: str
    covered: int
    months: int
    patient_days: int
    ddd: float | None
    therapy: int | None
    any_antibiotic: int | None

    @property
    def rate(self) -> float | None:
        """DDD per 1,000 patient-days."""
        return 1000 * self.ddd / self.patient_days if self.ddd is not None and self.patient_days else None


@dataclass(frozen=True)
class Outside:
    """A hospital that enters no group total (not of the study, or a shifted calendar): its own figures."""

    hospital: str
    first: date
    last: date
    records: list[tuple[str, int]]
    consumption: list[OwnConsumption]
    antibiogram: Antibiogram | None


@dataclass(frozen=True)
class Marts:
    """The second half of the report; a part is None where its mart is not there."""

    served: Served | None = None
    antibiogram: Antibiogram | None = None
    consumption: Consumption | None = None
    exposures: list[Exposure] | None = None
    coverage: Coverage | None = None
    outside: list[Outside] | None = None
    uncounted: list[UncountedDoses] | None = None


def read(platform: Platform) -> Marts:
    """The published marts, as they are at one moment.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    with platform.database.session("analyst") as session:
        session.set_session(readonly=True)
        with session.cursor(cursor_factory=RealDictCursor) as cur:
            cur.execute("select set_config('statement_timeout', %s, true)", (str(_TIMEOUT_MS),))
            planted = planted_effects(platform)
            return Marts(
                _panel(cur, "release", _served),
                _panel(cur, "cumulative_antibiogram", _antibiogram),
                _panel(cur, "antibiotic_consumption", _consumption),
                _panel(cur, "exposure_resistance", lambda c: _exposures(c, planted)),
                _panel(cur, "coverage", _coverage),
                _panel(cur, "coverage", _outside),
                _panel(cur, "antibiotic_consumption", _uncounted),
            )


def _panel(cur: Cursor, mart: str, ask: Callable[[Any], _Panel | None]) -> _Panel | None:
    """The reading of one mart; None where it is not there, is empty, or is not of the form agreed (that is told in the log)."""
    cur.execute(
        "select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = 'marts' and c.relname = %s and has_schema_privilege('marts', 'usage') "
        "and has_table_privilege(c.oid, 'select')",
        (mart,),
    )
    if cur.fetchone() is None:
        return None
    cur.execute("savepoint panel")
    try:
        return ask(cur)
    except psycopg2.Error as error:
        cur.execute("rollback to savepoint panel")
        _log.warning("report_mart_not_read", mart=mart, sqlstate=error.pgcode)
        return None


def _served(cur: Any) -> Served | None:
    cur.execute("select release_id, lake_snapshot, built_at, code_version from marts.release")
    row = cur.fetchone()
    return Served(**row) if row else None


# ------------------------------------------------------------------------------------------------ antibiogram


def _antibiogram(cur: Any, hospital: str = GROUP) -> Antibiogram | None:
    cur.execute(
        "select year, species, species_name, agent_code, agent_name, isolates, tested, resistant, below_30 "
        "from marts.cumulative_antibiogram where hospital_id = %s and dedup_scope = %s and method = 'm39' "
        "and among = 'tested' and breakpoint_indication = 'general' and specimen_nature = 'all' and year is not null and tested > 0 "
        "order by year",
        (hospital, GROUP if hospital == GROUP else "hospital"),
    )
    rows = cur.fetchall()
    if not rows:
        return None
    latest = max(r["year"] for r in rows)
    names = {r["species"]: r["species_name"] or r["species"] for r in rows}
    agents = {r["agent_code"]: r["agent_name"] or r["agent_code"] for r in rows}
    periods: dict[int, dict[tuple[str, str], Cell]] = {latest: {}, 0: {}}
    isolates: dict[int, dict[str, int]] = {latest: {}, 0: {}}
    pooled: dict[tuple[str, str], list[int]] = {}
    by_year: dict[tuple[int, str], int] = {}
    for r in rows:
        place = (r["species"], r["agent_code"])
        by_year[r["year"], r["species"]] = max(by_year.get((r["year"], r["species"]), 0), r["isolates"] or 0)
        sums = pooled.setdefault(place, [0, 0])
        sums[0] += r["tested"]
        sums[1] += r["resistant"]
        if r["year"] == latest:
            below = bool(r["below_30"]) or r["tested"] < MIN_ISOLATES
            periods[latest][place] = Cell(r["tested"], r["resistant"], below)
    periods[0] = {place: Cell(n, x, n < MIN_ISOLATES) for place, (n, x) in pooled.items()}
    for (year, species), count in by_year.items():
        isolates[0][species] = isolates[0].get(species, 0) + count
        if year == latest:
            isolates[latest][species] = count
    shown = sorted(names, key=lambda s: (-isolates[0].get(s, 0), names[s]))[:SPECIES]
    tested = {a: sum(c.tested for (s, b), c in periods[0].items() if b == a and s in shown) for a in agents}
    kept = sorted(sorted(tested, key=lambda a: -tested[a])[:AGENTS], key=lambda a: agents[a].lower())
    return Antibiogram([(s, names[s]) for s in shown], [(a, agents[a]) for a in kept], periods, isolates)


# ------------------------------------------------------------------------------------------------ consumption


def _consumption(cur: Any) -> Consumption | None:
    cur.execute(
        "select scope from marts.antibiotic_consumption where hospital_id = %s and grouping = 'total' group by scope",
        (GROUP,),
    )
    scopes = {r["scope"] for r in cur.fetchall()}
    scope = next((s for s in ("spares", "esac", "all") if s in scopes), None)
    if scope is None:
        return None
    cur.execute(
        "select hospital_id, month, grouping, item, covered, hospitals_covered, hospitals_expected, "
        "ddd_per_1000_patient_days::double precision as rate from marts.antibiotic_consumption "
        "where scope = %s and (grouping = 'total' or (grouping = 'aware' and hospital_id = %s)) order by month",
        (scope, GROUP),
    )
    rows = cur.fetchall()
    months = sorted({r["month"] for r in rows if r["hospital_id"] == GROUP and r["grouping"] == "total"})
    at = {m: i for i, m in enumerate(months)}
    total: list[float | None] = [None] * len(months)
    covered = [(0, 0)] * len(months)
    classes: dict[str, list[float | None]] = {}
    hospitals: dict[str, list[float | None]] = {}
    for r in rows:
        i = at.get(r["month"])
        if i is None:
            continue
        if r["hospital_id"] != GROUP:
            hospitals.setdefault(r["hospital_id"], [None] * len(months))[i] = r["rate"] if r["covered"] else None
        elif r["grouping"] == "aware":
            classes.setdefault(r["item"], [None] * len(months))[i] = r["rate"]
        else:
            total[i] = r["rate"]
            covered[i] = (r["hospitals_covered"] or 0, r["hospitals_expected"] or 0)
    for values in classes.values():  # a class of which nothing was given in a covered month has no row
        for i, v in enumerate(values):
            values[i] = 0.0 if v is None and total[i] is not None else v
    return Consumption(scope, months, total, classes, dict(sorted(hospitals.items())), covered)


# ------------------------------------------------------------------------------------------------ exposure and resistance


def _exposures(cur: Any, planted: list[Planted]) -> list[Exposure] | None:
    cur.execute(
        "select effect, exposure_atc, organism_code, agent_code, window_days, excluded_last_days, estimate, strata, "
        "odds_ratio::double precision as odds_ratio, ci_low::double precision as low, ci_high::double precision as high, "
        "index_isolates, not_observable from marts.exposure_resistance "
        "order by effect, exposure_atc, window_days, excluded_last_days, estimate"
    )
    grouped: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for r in cur.fetchall():
        place = (
            r["effect"], r["exposure_atc"], r["organism_code"], r["agent_code"], r["window_days"], r["excluded_last_days"],
        )  # fmt: skip
        grouped.setdefault(place, {})[r["estimate"]] = r
    exposures = []
    for (effect, atc, organism, agent, window, excluded), estimates in grouped.items():
        any_row = next(iter(estimates.values()))
        adjusted = estimates.get("mantel_haenszel")
        truth = matching(planted, effect, atc, agent)
        exposures.append(
            Exposure(
                effect, atc, organism, agent, window, excluded, any_row["index_isolates"], any_row["not_observable"],
                adjusted["strata"] if adjusted else None,
                _estimate(estimates.get("crude")),
                _estimate(adjusted),
                truth.odds_ratio if truth and (window, excluded) == (90, 0) else None,
                _estimate(estimates.get("unrestricted_mantel_haenszel")),
            )
        )  # fmt: skip
    return sorted(exposures, key=lambda e: (e.effect, not e.main, e.excluded_last_days, e.window_days)) or None


def _estimate(row: dict[str, Any] | None) -> Estimate | None:
    return Estimate(row["estimate"], row["odds_ratio"], row["low"], row["high"]) if row else None


def _rule(table: str, name: str) -> Rule:
    """A rule of gate 4: what it judges, the report shows, by the same thresholds."""
    return next(rule for rule in stage_rules("marts").rules[table] if rule.id == name)


# ------------------------------------------------------------------------------------------------ coverage

_SEVERITY = {"no_reference": 0, "few": 1, "ok": 2, "high": 3, "low": 4, "zero": 5}


def _judged() -> str:
    """Condition: gate 4 judges the month's volume; elsewhere chance alone makes such months."""
    none, unusual = (_rule("coverage", f"coverage.volume.{name}").when for name in ("zero", "usual"))
    return f"coalesce(case when status = 'zero' then {translated(none, 'postgres')} else {translated(unusual, 'postgres')} end, false)"


def _coverage(cur: Any) -> Coverage | None:
    cur.execute(
        "select hospital_id, month, table_name, records, expected_median::double precision as expected, "
        f"{_judged()} as judged, status, in_group from marts.coverage order by hospital_id, month, table_name"
    )
    rows = cur.fetchall()
    inside = [r for r in rows if r["in_group"]]
    if not rows:
        return None
    # a shifted calendar would stretch the axis over a century: only months that the group knows
    months = sorted({r["month"] for r in inside or rows})
    known = set(months)
    status: dict[tuple[str, date], str] = {}
    received: dict[tuple[str, date], int] = {}
    findings = []
    for r in rows:
        if r["month"] not in known:
            continue
        place = (r["hospital_id"], r["month"])
        received[place] = received.get(place, 0) + r["records"]
        judged = "few" if r["status"] in ("ok", "low", "high", "zero") and not r["judged"] else r["status"]
        status[place] = max(judged, status.get(place, "no_reference"), key=lambda s: _SEVERITY.get(s, 0))
        if _SEVERITY.get(judged, 0) >= _SEVERITY["high"]:
            findings.append((*place, r["table_name"], r["status"], r["records"], r["expected"]))
    judged_cells = sum(_SEVERITY.get(s, 0) >= _SEVERITY["ok"] for s in status.values())
    status |= {p: "empty" for p, s in status.items() if s in ("few", "no_reference") and not received[p]}
    outside = {r["hospital_id"] for r in rows if not r["in_group"]} - {r["hospital_id"] for r in inside}
    return Coverage(months, sorted({h for h, _ in status}), status, findings, outside, judged_cells, len(status))


# ------------------------------------------------------------------------------------------------ outside the group


def _outside(cur: Any) -> list[Outside] | None:
    cur.execute(
        "select hospital_id, table_name, sum(records)::bigint as records, min(month) as first, max(month) as last "
        "from marts.coverage where hospital_id in (select hospital_id from marts.coverage group by 1 having not bool_or(in_group)) "
        "group by 1, 2 order by 1, 2"
    )
    rows = cur.fetchall()
    outside_hospitals = []
    for hospital in sorted({r["hospital_id"] for r in rows}):
        hospital_rows = [r for r in rows if r["hospital_id"] == hospital]
        outside_hospitals.append(
            Outside(
                hospital,
                min(r["first"] for r in hospital_rows),
                max(r["last"] for r in hospital_rows),
                [(r["table_name"], r["records"]) for r in hospital_rows],
                _panel(cur, "antibiotic_consumption", partial(_own_consumption, hospital=hospital)) or [],
                _panel(cur, "cumulative_antibiogram", partial(_antibiogram, hospital=hospital)),
            )
        )
    return outside_hospitals


def _uncounted(cur: Any) -> list[UncountedDoses]:
    # the relation of gate 4's rules, and the rules
    table = "consumption_doses"
    counted = stage_rules("marts").relations[table].reads(lambda stage, model: f"{stage}.{model}")
    few = " and ".join(
        f"coalesce({_rule(table, f'{table}.{name}.few').sql('postgres')}, true)" for name in ("without_ddd", "unmapped")
    )
    cur.execute(
        "select hospital_id as hospital, coalesce(doses, 0)::bigint as doses, coalesce(doses_without_ddd, 0)::bigint as without_ddd, "
        f"coalesce(doses_unmapped, 0)::bigint as unmapped, not ({few}) as many from ({counted}) as counted order by 1"
    )
    return [UncountedDoses(**row) for row in cur.fetchall()]


def _own_consumption(cur: Any, hospital: str) -> list[OwnConsumption]:
    cur.execute(
        "select scope, count(*) filter (where covered) as covered, count(*) as months, "
        "coalesce(sum(patient_days) filter (where covered), 0)::bigint as patient_days, "
        "sum(ddd) filter (where covered)::double precision as ddd, sum(days_of_therapy) filter (where covered)::bigint as therapy, "
        "sum(length_of_therapy) filter (where covered)::bigint as any_antibiotic from marts.antibiotic_consumption "
        "where hospital_id = %s and grouping = 'total' group by scope order by array_position(array['spares', 'esac', 'all'], scope)",
        (hospital,),
    )
    return [OwnConsumption(**row) for row in cur.fetchall()]
