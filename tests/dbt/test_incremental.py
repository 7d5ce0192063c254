"""A publish that computes some hospitals' rows and takes the others' over serves what a publish of everything serves, row by row.

``ESTUAIRE_TEST_SEQUENCES=20``: longer sequences of deliveries than the everyday one.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import exposure_world
import pytest
import staging_world
import yaml
from psycopg2.extensions import connection

from estuaire.base.settings import PROJECT_ROOT, Settings
from estuaire.contract.tables import load_contract
from estuaire.storage import ledger
from estuaire.storage.platform import Platform
from estuaire.warehouse import last_good_content, releases
from estuaire.warehouse.publish import PublishOutcome, build_and_publish

World = dict[str, list[dict[str, Any]]]
RANDOM = ("h04", "h05", "h06")
LINEAGE = {"release_id", "lake_snapshot", "built_at", "code_version"}
STEPS = int(os.environ.get("ESTUAIRE_TEST_SEQUENCES", "1"))
ROWS_OF = ("hospital", "all")


def test_every_model_says_what_its_rows_depend_on() -> None:
    project = yaml.safe_load((PROJECT_ROOT / "dbt_project" / "dbt_project.yml").read_text(encoding="utf-8"))
    for folder in ("conformed", "marts"):
        models = {f.stem for f in (PROJECT_ROOT / "dbt_project" / "models" / folder).glob("*.sql")}
        told = {
            name: config["+meta"]["rows_of"]
            for name, config in project["models"]["estuaire"][folder].items()
            if not name.startswith("+")
        }
        assert told.keys() == models
        assert set(told.values()) <= set(ROWS_OF)


class Deliveries:
    """A world that hospitals deliver to, and publishes of what staging holds of it."""

    def __init__(self, session: connection, settings: Settings, rules: Path, seed: int) -> None:
        self.session, self.platform, self.rules = session, Platform(settings), rules
        self.draw = random.Random(seed)  # noqa: S311 - test data
        self.world = staging_world.together(
            staging_world.small(), staging_world.random_world(seed), exposure_world.draw(seed, people=40)
        )
        self.number = 0
        with session.cursor() as cur:
            staging_world.load(cur, self.world)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with self.session.cursor() as cur:
            cur.execute(query)
            return list(cur.fetchall())

    def publish(self, full: bool = False) -> PublishOutcome:
        self.number += 1
        ledger.start_run(self.platform.database, f"incremental-{self.number}", "publish_marts")
        return build_and_publish(self.platform, f"incremental-{self.number}", 42, "abc123", rules=self.rules, full=full)

    def load(self, hospital: str, content: bool = True) -> None:
        """As the load stage replaces a hospital's rows; without ``content`` its links alone."""
        with self.platform.database.transaction() as session, session.cursor() as cur:
            cur.execute("delete from staging.patient_map where hospital_id = %s", (hospital,))
            if not content:
                links = [r for r in self.world["patient_map"] if r["hospital_id"] == hospital]
                staging_world.insert(cur, "patient_map", links)
                return
            last_good_content.keep_served(cur, [hospital])
            for table in load_contract().names:
                cur.execute(f"drop table if exists staging.{table}_{hospital}")
            staging_world.fill(cur, self.world, hospital)
            self.number += 1
            cur.execute(
                "update control.load set content_hash = %s, updated_at = now() where hospital_id = %s",
                (f"v{self.number}", hospital),
            )

    # ---------------------------------------------------------------- what happens
    def adds_and_deletes(self) -> set[str]:
        """A new month of one hospital: rows come, rows go."""
        hospital = self.draw.choice(RANDOM)
        newer = staging_world.random_world(self.draw.randrange(10**6), (hospital,))
        for table in ("stay", "administration", "specimen", "isolate", "susceptibility", "diagnosis"):
            others = [r for r in self.world[table] if r["hospital_id"] != hospital]
            theirs = [r for r in self.world[table] if r["hospital_id"] == hospital and self.draw.random() < 0.9]
            if table == "administration":  # keyed by number: a new number is a new record
                theirs += [{**r, "administration_id": f"n{self.number}-{i}"} for i, r in enumerate(newer[table][:60])]
            if table == "stay":
                theirs += [{**r, "stay_id": f"n{self.number}-{i}"} for i, r in enumerate(newer[table][:15])]
            self.world[table] = others + theirs
        self.load(hospital)
        return {hospital}

    def merges_persons(self) -> set[str]:
        """A delivery of one hospital shows that a person of another is somebody else's: links of both change, content of one."""
        hospital, other = self.draw.sample(RANDOM, 2)
        for row in self.world["patient_map"]:
            if row["hospital_id"] == other and row["patient_id"] in ("p0", "p3", "p7"):
                row["patient_key"] = f"person-merged-{self.number}-{row['patient_id']}"
            if row["hospital_id"] == hospital and row["patient_id"] in ("p1", "p4"):
                row["patient_key"] = f"person-merged-{self.number}-p3"
        self.load(hospital)
        self.load(other, content=False)
        return {hospital, other}

    def leaves_the_study(self) -> set[str]:
        """The registry's row of a hospital changes, and nothing else."""
        hospital = self.draw.choice((*RANDOM, "h12"))
        with self.session.cursor() as cur:
            cur.execute(
                "update staging.hospital set study_member = not study_member where hospital_id = %s", (hospital,)
            )
        return {hospital}

    def differing(self, before: int) -> dict[str, tuple[int, int]]:
        """Table -> rows that only the archived release has, and that only the served one has."""
        differing = {}
        for schema in ("conformed", "marts"):
            for (table,) in self.ask(
                f"select tablename from pg_tables where schemaname = '{schema}' "
                f"union select tablename from pg_tables where schemaname = '{schema}_r{before}' order by 1"
            ):
                columns = ", ".join(
                    f'"{name}"'
                    for (name,) in self.ask(
                        f"select column_name from information_schema.columns where table_schema = '{schema}' and table_name = '{table}'"
                    )
                    if name not in LINEAGE
                )
                if not columns:
                    continue
                one, two = (
                    f"select {columns} from {schema}_r{before}.{table}",
                    f"select {columns} from {schema}.{table}",
                )
                [counts] = self.ask(
                    f"select (select count(*) from ({one} except all {two}) as a), (select count(*) from ({two} except all {one}) as b)"
                )
                if counts != (0, 0):
                    differing[f"{schema}.{table}"] = counts
        return differing


@pytest.mark.parametrize("seed", range(STEPS))
def test_an_incremental_release_equals_a_full_one(
    warehouse: connection, warehouse_settings: Settings, rules: Path, seed: int
) -> None:
    with warehouse.cursor() as cur:
        staging_world.reset(cur)
    d = Deliveries(warehouse, warehouse_settings, rules, seed)
    assert d.publish().rebuilt is None
    kinds: list[Callable[[], set[str]]] = [d.adds_and_deletes, d.merges_persons, d.leaves_the_study]
    d.draw.shuffle(kinds)
    # the everyday sequence is one step in which all three happen; a long one has steps of its own for each, and rollbacks between
    steps = [kinds] if STEPS == 1 else [[kind] for kind in kinds * 2]
    for step in steps:
        changed = set().union(*(kind() for kind in step))
        incremental = d.publish()
        assert set(incremental.rebuilt or ()) == changed
        assert {r for (r,) in d.ask("select distinct release_id from marts.coverage")} == {incremental.release_id}
        full = d.publish(full=True)
        assert full.rebuilt is None
        assert d.differing(incremental.release_id) == {}
        if d.draw.random() < 0.5:
            releases.rollback(d.platform, incremental.release_id)
