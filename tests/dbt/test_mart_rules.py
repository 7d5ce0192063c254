"""The rules of the marts on small tables written by hand: a right mart passes, each planted fault is found by its own rule, by both
engines. The tables have the columns that the rules read, whatever else the models publish."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from psycopg2.extensions import connection

from estuaire.base.settings import Settings
from estuaire.gates.warehouse import Finding, blocked
from estuaire.gates.warehouse import audit as gate_audit
from estuaire.rules.rule_registry import FOLDER
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform

COUNTS = "isolates tested susceptible increased_exposure intermediate i_guideline_unknown resistant undetermined"
TABLES: dict[str, str] = {
    "marts.first_isolate": "isolate_key text, method text, dedup_scope text, among text, hospital_id text, patient_key text, episode_number bigint, excluded_because text",
    "marts.cumulative_antibiogram": (
        "hospital_id text, dedup_scope text, method text, among text, year bigint, species text, agent_code text, breakpoint_indication text, "
        "specimen_nature text, "
        + ", ".join(f"{c} bigint" for c in COUNTS.split())
        + ", pct_resistant numeric, pct_resistant_wilson_low numeric, pct_resistant_wilson_high numeric, "
        "pct_resistant_exact_low numeric, pct_resistant_exact_high numeric, pct_susceptible numeric, "
        "pct_increased_exposure numeric, below_30 boolean"
    ),
    "marts.antibiotic_consumption": (
        "hospital_id text, month date, scope text, grouping text, item text, covered boolean, hospitals_covered integer, "
        "hospitals_expected integer, patient_days bigint, ddd numeric, days_of_therapy bigint, length_of_therapy bigint, "
        "doses bigint, doses_without_ddd bigint, doses_unmapped bigint"
    ),
    "marts.antibiotic_consumption_year": (
        "hospital_id text, year integer, unit_type text, scope text, grouping text, item text, patient_days bigint, ddd numeric, "
        "days_of_therapy bigint, length_of_therapy bigint, dot_per_1000_low numeric, dot_per_1000_patient_days numeric, "
        "dot_per_1000_high numeric, doses bigint"
    ),
    "marts.exposure_resistance": (
        "effect text, exposure_atc text, organism_code text, agent_code text, exposure_source text, window_days integer, "
        "excluded_last_days integer, estimate text, odds_ratio numeric, ci_low numeric, ci_high numeric, exposed_cases bigint, exposed_controls bigint, "
        "unexposed_cases bigint, unexposed_controls bigint, people_counted bigint"
    ),
    "marts.coverage": "hospital_id text, month date, table_name text, expected_median numeric, expected_spread numeric, month_share numeric, status text",
    "conformed.patient_day": "hospital_id text, patient_key text, night date",
    "conformed.hospital": "hospital_id text, study_member boolean, calendar text",
    "conformed.hospital_month": "hospital_id text, month date, covered boolean",
}
RIGHT = """
insert into conformed_next.hospital values ('h01', true, 'real'), ('h02', true, 'real'), ('h38', false, 'shifted');
insert into conformed_next.hospital_month values ('h01', '2025-01-01', true), ('h02', '2025-01-01', true), ('h02', '2025-02-01', false);
insert into conformed_next.patient_day select 'h01', 'p', date '2025-01-01' + n from generate_series(0, 9) n;
insert into conformed_next.patient_day select 'h02', case when n = 4 then 'p' else 'q' end, date '2025-01-01' + n from generate_series(0, 4) n;
insert into marts_next.antibiotic_consumption values
    ('h01', '2025-01-01', 'esac', 'total', 'all', true, 1, 1, 10, 5.5, 7, 5, null, null, null),
    ('h01', '2025-01-01', 'esac', 'atc', 'J01DD04', true, 1, 1, 10, 3.5, 4, 4, null, null, null),
    ('h01', '2025-01-01', 'esac', 'atc', 'J01CR02', true, 1, 1, 10, 2.0, 3, 3, null, null, null),
    ('h02', '2025-01-01', 'esac', 'total', 'all', true, 1, 1, 5, 1.0, 1, 1, null, null, null),
    ('h02', '2025-01-01', 'esac', 'atc', 'J01DD04', true, 1, 1, 5, 1.0, 1, 1, null, null, null),
    ('h02', '2025-02-01', 'esac', 'total', 'all', false, 0, 1, null, null, null, null, null, null, null),
    ('group', '2025-01-01', 'esac', 'total', 'all', true, 2, 2, 14, 6.5, 8, 6, null, null, null), -- a night of one patient in both counts once
    ('h01', '2025-01-01', 'all', 'total', 'all', true, 1, 1, 10, 5.5, 7, 5, 200, 2, 2),
    ('h01', '2025-01-01', 'all', 'atc', 'J01DD04', true, 1, 1, 10, 5.5, 7, 5, 200, 2, 2),
    ('group', '2025-01-01', 'esac', 'atc', 'J01DD04', true, 2, 2, 14, 4.5, 5, 5, null, null, null),
    ('group', '2025-01-01', 'esac', 'atc', 'J01CR02', true, 2, 2, 14, 2.0, 3, 3, null, null, null);
insert into marts_next.antibiotic_consumption
    select hospital_id, month, scope, coarser.grouping, left(item, 5), covered, hospitals_covered, hospitals_expected, patient_days, ddd,
        days_of_therapy + case when coarser.grouping = 'aware' then 1 else 0 end, length_of_therapy, doses, doses_without_ddd, doses_unmapped
    from marts_next.antibiotic_consumption cross join (values ('class'), ('aware')) as coarser (grouping)
    where antibiotic_consumption.grouping = 'atc' and (coarser.grouping <> 'aware' or hospital_id <> 'group');
insert into marts_next.antibiotic_consumption
    select 'group', month, scope, grouping, item, true, 2, 2, 14, sum(ddd), sum(days_of_therapy), 5, null, null, null
    from marts_next.antibiotic_consumption where grouping = 'aware' and scope = 'esac' group by month, scope, grouping, item;
insert into marts_next.antibiotic_consumption_year values ('h01', 2025, 'all', 'all', 'total', 'all', 10, 5.5, 7, 5, 281.4, 700, 1442.3, 200);
insert into marts_next.cumulative_antibiogram values
    ('h01', 'hospital', 'all', 'tested', 2025, 'ESCCOL', 'CIP', 'general', 'all', 120, 120, 80, 21, 0, 1, 18, 0, 15, 9.70, 22.47, 9.14, 22.67, 66.7, 18.3, false),
    ('h01', 'hospital', 'all', 'tested', 2025, 'ESCCOL', 'CIP', 'general', 'urine', 100, 100, 70, 16, 0, 0, 14, 0, 14, 8.53, 22.14, 7.87, 22.37, 70, 16, false),
    ('h01', 'hospital', 'all', 'tested', 2025, 'ESCCOL', 'CIP', 'general', 'blood', 20, 20, 10, 5, 0, 1, 4, 0, null, null, null, null, null, null, null, true),
    ('h01', 'hospital', 'm39', 'tested', 2025, 'ESCCOL', 'CIP', 'general', 'all', 110, 110, 80, 22, 0, 0, 8, 0, 7.27, 3.73, 13.69, 3.19, 13.83, 72.7, 20, false),
    ('h01', 'hospital', 'm39', 'tested', 2025, 'ESCCOL', 'CIP', 'general', 'urine', 90, 90, 70, 16, 0, 0, 4, 0, 4.44, 1.74, 10.88, 1.22, 10.99, 77.8, 17.8, false);
insert into marts_next.first_isolate
    select 'i' || n, m, 'hospital', 'tested', 'h01', 'p', 1, null from (values ('all', 5), ('episode_7', 4), ('episode_14', 3), ('episode_30', 3),
    ('episode_365', 2), ('patient', 1), ('m39', 2), ('glass', 3), ('phenotype_30', 4), ('phenotype_365', 3)) as v(m, upto) cross join generate_series(1, 5) n where n <= upto;
insert into marts_next.exposure_resistance values
    ('e', 'J01MA02', 'ESCCOL', 'CIP', 'hospital_only', 90, 0, 'crude', 2.429, 1.567, 3.764, 60, 140, 45, 255, 500);
insert into marts_next.coverage values
    ('h01', '2025-01-01', 'stay', 120, 0.1, 1, 'ok'), ('h01', '2025-02-01', 'stay', 120, 0.1, 1, 'ok'),
    ('h01', '2025-02-01', 'isolate', 2, 0.1, 1, 'zero'), ('h01', '2025-02-01', 'susceptibility', 37, 0.6, 1, 'zero'),
    ('h01', '2025-02-01', 'specimen', 40, null, 1, 'zero'), ('h01', '2025-03-01', 'specimen', 120, 0.1, 0.4, 'zero'),
    ('h38', '2110-01-01', 'stay', 120, 0.1, 1, 'zero');
"""
# fault -> (statement, rule, verdict)
FAULTS = {
    "S + I + R is not tested": (
        "update marts_next.cumulative_antibiogram set susceptible = susceptible - 1 where specimen_nature = 'blood'",
        "cumulative_antibiogram.categories.add_up", "block",
    ),
    "natures do not add up": (
        "update marts_next.cumulative_antibiogram set tested = 19, susceptible = 9 where specimen_nature = 'blood'",
        "antibiogram_strata.tested.add_up", "block",
    ),
    "few isolates not flagged": (
        "update marts_next.cumulative_antibiogram set below_30 = false where tested < 30",
        "cumulative_antibiogram.below_30.flagged", "block",
    ),
    "a percentage of few isolates": (
        "update marts_next.cumulative_antibiogram set pct_resistant = 20 where tested < 30",
        "cumulative_antibiogram.below_30.no_percentage", "block",
    ),
    "an interval beside its estimate": (
        "update marts_next.cumulative_antibiogram set pct_resistant = 30 where specimen_nature = 'all'",
        "cumulative_antibiogram.interval.holds_estimate", "block",
    ),
    "fewer isolates within 7 days than within 30": (
        "delete from marts_next.first_isolate where method = 'episode_7' and isolate_key in ('i3', 'i4')",
        "dedup_monotone.counts.monotone", "block",
    ),
    "an isolate twice": (
        "insert into marts_next.first_isolate select * from marts_next.first_isolate where method = 'patient'",
        "first_isolate.key.unique", "block",
    ),
    "an isolate without a part of its key": (
        "update marts_next.first_isolate set dedup_scope = null where method = 'patient'", "first_isolate.key.unique", "block",
    ),
    "patient-days are not nights": (
        "update marts_next.antibiotic_consumption set patient_days = 9 where hospital_id = 'h01'",
        "patient_days_are_nights.patient_days.equal", "block",
    ),
    "the group is not its hospitals": (
        "update marts_next.antibiotic_consumption set days_of_therapy = 9 where hospital_id = 'group'",
        "consumption_group.dot.add_up", "block",
    ),
    "drugs do not add up": (
        "update marts_next.antibiotic_consumption set ddd = 3 where item = 'J01CR02'", "consumption_strata.ddd.add_up", "block",
    ),
    "a class that lacks a thousandth": (
        "update marts_next.antibiotic_consumption set ddd = ddd - 0.001 where grouping = 'class' and hospital_id = 'h01' and scope = 'all'",
        "consumption_strata.ddd.add_up", "block",
    ),
    "a total without its parts": (
        "delete from marts_next.antibiotic_consumption where grouping = 'aware' and hospital_id = 'h02'", "consumption_strata.dot.add_up", "block",
    ),
    "doses without a DDD do not add up": (
        "update marts_next.antibiotic_consumption set doses_without_ddd = 1 where grouping = 'atc' and scope = 'all'",
        "consumption_strata.without_ddd.add_up", "block",
    ),
    "an item of the group is not its hospitals'": (
        "update marts_next.antibiotic_consumption set days_of_therapy = 6 where grouping = 'class' and item = 'J01DD' and hospital_id = 'group'",
        "consumption_group.dot.add_up", "block",
    ),
    "a shared night counted twice": (
        "update marts_next.antibiotic_consumption set patient_days = 15 where hospital_id = 'group'",
        "consumption_group.patient_days.add_up", "block",
    ),
    "many doses without a DDD": (
        "update marts_next.antibiotic_consumption set doses_without_ddd = 3 where scope = 'all'", "consumption_doses.without_ddd.few", "warn",
    ),
    "many doses of drugs without a code": (
        "update marts_next.antibiotic_consumption set doses_unmapped = 3 where scope = 'all'", "consumption_doses.unmapped.few", "warn",
    ),
    "an interval that lacks its rate": (
        "update marts_next.antibiotic_consumption_year set dot_per_1000_high = 699", "antibiotic_consumption_year.intervals.hold", "block",
    ),
    "a measure without coverage": (
        "update marts_next.antibiotic_consumption set patient_days = 0 where not covered",
        "antibiotic_consumption.covered.or_null", "block",
    ),
    "a month without a record": (
        "update marts_next.coverage set status = 'zero' where table_name = 'stay' and month = '2025-02-01'",
        "coverage.volume.zero", "block",
    ),
    "a month with few records": (
        "update marts_next.coverage set status = 'low' where table_name = 'stay' and month = '2025-02-01'",
        "coverage.volume.usual", "warn",
    ),
    "an odds ratio outside its interval": (
        "update marts_next.exposure_resistance set odds_ratio = 9", "exposure_resistance.interval.holds_estimate", "block",
    ),
}  # fmt: skip


@pytest.fixture
def audit(warehouse: connection, warehouse_settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Finding]]:
    """Audits the right tables, spoiled by a statement: what the gate of the marts finds."""
    rules, models = tmp_path / "rules", tmp_path / "models"
    (rules / "marts").mkdir(parents=True)
    for file in (FOLDER / "marts").iterdir():
        if not file.name.startswith("release"):
            shutil.copy(file, rules / "marts" / file.name.removesuffix(".pending"))
    with warehouse.cursor() as cur:
        cur.execute("drop schema if exists conformed_next cascade; drop schema if exists marts_next cascade")
        cur.execute("create schema conformed_next; create schema marts_next")
        for name, columns in TABLES.items():
            stage, model = name.split(".")
            cur.execute(f"create table {stage}_next.{model} ({columns})")
            file = models / stage / f"{model}.yml"
            file.parent.mkdir(parents=True, exist_ok=True)
            typed = [c.split(" ") for c in columns.split(", ")]
            document = {"models": [{"name": model, "columns": [{"name": n, "data_type": t} for n, t in typed]}]}
            file.write_text(yaml.safe_dump(document), encoding="utf-8")
        cur.execute(RIGHT)

    def run(statement: str = "") -> Finding:
        with warehouse.cursor() as cur:
            if statement:
                cur.execute(statement)
        with Database.of(warehouse_settings).transaction() as session:
            findings = gate_audit(Platform(warehouse_settings), session, "run-1", ["h38"], folder=rules, models=models)
        return next(f for f in findings if f.stage == "marts")

    yield run
    with warehouse.cursor() as cur:
        cur.execute("drop schema conformed_next cascade; drop schema marts_next cascade")


def test_right_marts_pass(audit: Callable[..., Finding]) -> None:
    finding = audit()
    assert finding.verdict() == ("pass", [])
    assert {r.status for r in finding.totals} == {"pass"}
    assert len(finding.totals) > 30
    # a hospital without real dates is not judged by its months
    assert [r.status for r in finding.hospitals["h38"] if r.rule.id == "coverage.volume.zero"] == ["not_applicable"]
    assert blocked([finding]) is None


def test_the_months_that_break_a_rule_are_named(audit: Callable[..., Finding]) -> None:
    finding = audit(FAULTS["a month without a record"][0])
    assert finding.verdict()[1] == ["coverage.volume.zero: 1 of 2 (most in h01: 1, first h01 2025-02 stay)"]


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_by_its_rule(audit: Callable[..., Finding], fault: str) -> None:
    statement, rule, expected = FAULTS[fault]
    finding = audit(statement)
    decided, reasons = finding.verdict()
    assert decided == expected
    assert any(rule in reason for reason in reasons)
    [result] = [r for r in finding.totals if r.rule.id == rule]
    assert (result.status, result.gx_failed) == ("fail", result.rows_failed)
    assert result.rows_failed > 0
    error = blocked([finding])
    assert (error is not None) == (expected == "block")


def test_a_missing_column_or_an_exception_is_an_error_not_a_failure(
    audit: Callable[..., Finding], monkeypatch: pytest.MonkeyPatch
) -> None:
    from estuaire.gates.gx import Suites

    monkeypatch.setattr(Suites, "views", lambda self, _, __, views: {name: {} for name in views})
    finding = audit()
    assert {r.status for r in finding.totals} == {"error"}
    assert finding.verdict()[0] == "block"
