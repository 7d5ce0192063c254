"""A reported S on an intrinsic drug is a finding (docs/domain/categories.md): counted per hospital, a warning that blocks nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from psycopg2.extensions import connection

from estuaire.base.settings import Settings
from estuaire.gates.warehouse import Finding, blocked
from estuaire.gates.warehouse import audit as gate_audit
from estuaire.rules.rule_registry import FOLDER
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform

RULE = "intrinsic_result.category.not_s"


@pytest.fixture
def finding(warehouse: connection, warehouse_settings: Settings, tmp_path: Path) -> Finding:
    """Two S on intrinsic drugs and one R in h01, an R alone in h02, and in h03 an S where nothing is intrinsic."""
    (tmp_path / "conformed").mkdir()
    shutil.copy(FOLDER / "conformed" / "intrinsic_result.yml", tmp_path / "conformed")
    with warehouse.cursor() as cur:
        cur.execute(
            """
            drop schema if exists conformed_next cascade;
            create schema conformed_next;
            create table conformed_next.isolate (isolate_key text, organism_code text);
            create table conformed_next.susceptibility (hospital_id text, isolate_key text, agent_code text, category text);
            create table conformed_next.intrinsic_resistance (organism_code text, agent_code text);
            insert into conformed_next.isolate values ('k', 'B_KLBSL_PNMN'), ('e', 'B_ESCHR_COLI'), ('u', null);
            insert into conformed_next.intrinsic_resistance values ('B_KLBSL_PNMN', 'AMX'), ('B_KLBSL_PNMN', 'RIF');
            insert into conformed_next.susceptibility values
                ('h01', 'k', 'AMX', 'S'), ('h01', 'k', 'RIF', 'S'), ('h01', 'k', 'AMX', 'R'), ('h01', 'k', 'CTX', 'S'),
                ('h01', 'k', 'AMX', null), ('h02', 'k', 'AMX', 'R'), ('h03', 'e', 'AMX', 'S'), ('h03', 'u', 'AMX', 'S');
            """
        )
    with Database.of(warehouse_settings).transaction() as session:
        [found] = [
            f
            for f in gate_audit(Platform(warehouse_settings), session, "run-intrinsic", folder=tmp_path)
            if f.stage == "conformed"
        ]
    with warehouse.cursor() as cur:
        cur.execute("drop schema conformed_next cascade")
    return found


def test_each_hospital_s_results_are_counted(finding: Finding) -> None:
    counted = {h: (r.rows_checked, r.rows_failed) for h, rs in finding.hospitals.items() for r in rs}
    assert counted == {"h01": (3, 2), "h02": (1, 0)}
    [total] = finding.totals
    assert (total.rule.id, total.rows_failed, total.gx_failed) == (RULE, 2, 2)


def test_it_warns_and_blocks_nothing(finding: Finding) -> None:
    assert finding.verdict() == ("warn", [f"{RULE}: 2 of 4 (most in h01: 2)"])
    assert finding.hospital_verdict("h02") == ("pass", [])
    assert blocked([finding]) is None
