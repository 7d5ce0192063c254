"""A hospital that alone breaks a rule of gate 3 is held back: its last good content stays served, the others go on, and the release says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import staging_world
from psycopg2.extensions import connection

from estuaire.base import faults
from estuaire.base.settings import Settings
from estuaire.runs.explain import explain
from estuaire.storage import held_hospitals, ledger
from estuaire.storage.platform import Platform
from estuaire.warehouse import last_good_content, releases
from estuaire.warehouse.publish import PublishOutcome, build_and_publish

World = dict[str, list[dict[str, Any]]]
RULE = "prescription.dose.positive"


def prescription(hospital: str, patient: str, dose: float) -> dict[str, Any]:
    return {
        "hospital_id": hospital, "prescription_id": "r1", "patient_id": patient, "drug_code": "J01DD04", "drug_code_source": "x",
        "dose": dose, "status": "active", "stale_correction": False, **staging_world.moment("started_at", "2024-02-15 12:00"),
    }  # fmt: skip


class Warehouse:
    """Staging as loads leave it, and publishes of what it holds."""

    def __init__(self, session: connection, settings: Settings, rules: Path) -> None:
        self.session, self.platform, self.rules, self.runs, self.builds = session, Platform(settings), rules, 0, 0
        self.first, self.second, self.before = 0, 0, dict[str, int]()

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with self.session.cursor() as cur:
            cur.execute(query)
            return list(cur.fetchall())

    def load(self, hospital: str, content: str, world: World) -> None:
        """As the load stage: keep what is served, then replace a hospital's rows, in one transaction."""
        with self.platform.database.transaction() as session, session.cursor() as cur:
            last_good_content.keep_served(cur, [hospital])
            for table in staging_world.load_contract().names:
                cur.execute(f"drop table if exists staging.{table}_{hospital}")
            cur.execute("delete from staging.patient_map where hospital_id = %s", (hospital,))
            staging_world.fill(cur, world, hospital)
            cur.execute(
                "insert into control.load (hospital_id, content_hash, run_id) values (%s, %s, 'test') "
                "on conflict (hospital_id) do update set content_hash = excluded.content_hash, updated_at = now()",
                (hospital, content),
            )

    def publish(self) -> PublishOutcome:
        self.runs, self.builds = self.runs + 1, 0

        ledger.start_run(self.platform.database, f"run-{self.runs}", "publish_marts")

        def built(_: connection) -> None:
            self.builds += 1

        with faults.during(publish_built=built):
            return build_and_publish(self.platform, f"run-{self.runs}", 42, "abc123", rules=self.rules)

    def verdict(self, hospital: str, stage: str = "conformed") -> tuple[Any, ...]:
        [row] = self.ask(
            f"select verdict, reasons from quality.verdict where run_id = 'run-{self.runs}' and stage = '{stage}' "
            f"and hospital_id = '{hospital}'"
        )
        return row

    def nights(self) -> dict[str, int]:
        return dict(self.ask("select hospital_id, count(*) from conformed.patient_day group by 1"))

    def kept(self) -> list[tuple[Any, ...]]:
        return self.ask("select hospital_id, content_hash from control.kept_content order by 1")


GOOD = staging_world.together(staging_world.small(), staging_world.courses())
NEW = {
    "patient": [staging_world.patient("h05", "p")],
    "patient_map": [staging_world.link("h05", "p", "person-5")],
}
WHO = {"h01": "a", "h02": "a2", "h05": "p"}
COVERAGE = "select month, table_name, records, expected_median, status from marts.coverage where hospital_id = 'h02' order by 1, 2"


def changed(hospital: str, *, nights: int, dose: float = 1.0) -> World:
    """The world with one more stay of so many nights, and a prescription, in a hospital."""
    more = staging_world.stay(hospital, "new", WHO[hospital], "2024-02-15 10:00", f"2024-02-{15 + nights} 10:00")
    world = staging_world.together(GOOD, NEW)
    return {**world, "stay": [*world["stay"], more], "prescription": [prescription(hospital, WHO[hospital], dose)]}


@pytest.fixture(scope="module")
def warehouse_of(warehouse: connection, warehouse_settings: Settings, rules: Path) -> Warehouse:
    with warehouse.cursor() as cur:
        cur.execute("truncate quality.verdict, quality.result")
        staging_world.load(cur, {**GOOD, "hospital": [*GOOD["hospital"], staging_world.hospital("h05")]})
        cur.execute("delete from control.load where hospital_id = 'h05'")  # known, and never loaded yet
    return Warehouse(warehouse, warehouse_settings, rules)


def test_the_others_go_on_and_what_was_good_stays_served(warehouse_of: Warehouse) -> None:
    """One story: h02 is published, then breaks a rule, then is corrected; h05 breaks it before it was ever published."""
    w = warehouse_of
    first = w.publish()
    assert (first.state, first.held_back, w.builds) == ("published", (), 1)
    before, coverage = w.nights(), w.ask(COVERAGE)
    assert before["h02"] == 4
    assert "h05" not in before

    # h02 and h05 break a rule, h01 does not: one release, h01 new, h02 as it was, h05 not there. A killed publish left a candidate behind
    with w.session.cursor() as cur:
        cur.execute(
            f"create schema {held_hospitals.MIXED}; create view {held_hospitals.MIXED}.stay as select 1 as left_behind"
        )
    w.load("h01", "v2", changed("h01", nights=5))
    w.load("h02", "v2", changed("h02", nights=7, dose=-1.0))
    w.load("h05", "v1", changed("h05", nights=3, dose=-1.0))
    assert w.kept() == [("h01", "v1"), ("h02", "v1")]
    second = w.publish()
    assert (second.state, second.held_back, w.builds) == ("published", ("h02", "h05"), 2)
    assert second.message == (
        f"release {second.release_id} is served; h02 is held back (gate conformed: {RULE}: 1 of 1), its content of release "
        f"{first.release_id} stays served; h05 is held back (gate conformed: {RULE}: 1 of 1), it was never published and is left out"
    )
    assert w.nights() == {**before, "h01": before["h01"] + 5}
    assert w.ask(COVERAGE) == coverage
    assert w.ask("select held_back from marts.release") == [("h02, h05",)]
    assert w.verdict("h02") == w.verdict("h05") == ("block", f"{RULE}: 1 of 1")
    decided, reasons = w.verdict(
        "*"
    )  # this world's patients die before their stays, which its rules let pass with a warning
    assert decided == "warn"
    assert reasons.endswith(f"h02 held back: {RULE}: 1 of 1; h05 held back: {RULE}: 1 of 1")
    assert w.verdict("h01")[0] != "block"
    assert w.verdict("*", "marts")[0] != "block"
    # the ledger: staging holds the new content, the release was built from the old one
    assert dict(w.ask("select hospital_id, content_hash from control.load"))["h02"] == "v2"
    [release] = [r for r in releases.list_releases(w.platform.database) if r.state == "published"]
    assert release.contents is not None
    assert (release.contents["h01"], release.contents["h02"], "h05" in release.contents) == ("v2", "v1", False)
    assert (release.held_back["h02"].refused, release.held_back["h02"].of_release) == ("v2", first.release_id)
    assert w.kept() == [("h02", "v1")]
    assert w.ask("select nspname from pg_namespace where nspname like '%\\_next'") == []

    told = explain(w.platform, "run-2")
    assert {s.where: s.code for s in told.stopped} == dict.fromkeys(
        ("h02: gate conformed", "h05: gate conformed"), "E_GATE_BLOCKED"
    )
    assert [s.about for s in told.next if s.kind == "gate"] == ["h02", "h05"]

    # the same again is not judged again, unless a rule or a model changes
    assert (w.publish().state, w.builds) == ("unchanged", 0)
    with w.session.cursor() as cur:
        by_the_same = release.held_back["h02"].judged_with
        assert set(last_good_content.standing(cur, release, by_the_same)) == {"h02", "h05"}
        assert last_good_content.standing(cur, release, "other rules") == {}

    w.first, w.second, w.before = first.release_id, second.release_id, before


def test_going_on_from_there(warehouse_of: Warehouse) -> None:
    """The second half of the story."""
    w = warehouse_of
    # going back and forth keeps what is served
    assert releases.rollback(w.platform).release_id == w.first
    assert w.kept() == [("h02", "v1")]
    assert (w.publish().state, w.builds) == ("unchanged", 0)
    releases.rollback(w.platform, w.second)

    # a still worse content replaces the refused one in staging, not the kept one
    w.load("h02", "v3", changed("h02", nights=8, dose=-2.0))
    assert w.kept() == [("h02", "v1")]

    # corrected: in, and nothing of it is kept any more; h05, which nobody corrected, is held back from the start
    w.load("h02", "v4", changed("h02", nights=9))
    third = w.publish()
    assert (third.held_back, w.builds) == (("h05",), 1)
    assert w.nights() == {**w.before, "h01": w.before["h01"] + 5, "h02": w.before["h02"] + 9}
    assert w.verdict("h05") == ("block", f"{RULE}: 1 of 1")
    assert w.kept() == []
    assert w.ask("select count(*) from pg_tables where schemaname = 'staging_served'") == [(0,)]


def test_a_hospital_whose_served_content_is_not_kept_cannot_be_held_back(warehouse_of: Warehouse) -> None:
    """Needs no build: what stands in its place is asked for before."""
    w = warehouse_of
    broken = {"h02": {"conformed": [RULE]}}
    [release] = [r for r in releases.list_releases(w.platform.database) if r.state == "published"]
    with w.session.cursor() as cur:
        # its content is the one that is served already
        assert last_good_content.hold(cur, release, "x", broken) is None
    w.load("h02", "v5", changed("h02", nights=2, dose=-1.0))
    with w.session.cursor() as cur:
        held = last_good_content.hold(cur, release, "x", broken)
        assert held is not None
        assert (held["h02"].serves, held["h02"].of_release) == ("v4", release.release_id)
        last_good_content.drop(cur, ["h02"])
        assert last_good_content.hold(cur, release, "x", broken) is None
