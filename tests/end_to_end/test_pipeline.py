"""The whole chain through the real scheduler, Spark, Great Expectations, dbt and PostgreSQL, as `make demo` runs it.

The tests of this file tell one story, in order, on one stack: history is published; nothing new changes nothing; each faulty delivery of a
run is blocked by its own error and the others publish; one is mended and lands with newer ones, though the scheduler is killed in mid-run;
and a fresh database fed with the same deliveries at once publishes the same marts.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import psycopg2
import psycopg2.extras
import pytest
from published import RELEASE_COLUMNS, copied

from estuaire.base.errors import RunFailed
from estuaire.base.run_names import INGEST
from estuaire.base.settings import Settings
from estuaire.contract.registry import load_registry, read_code_map
from estuaire.contract.tables import load_contract
from estuaire.operations.pipeline_run import Followed, follow
from estuaire.rules.rule_registry import load_rules
from estuaire.rules.rule_relations import STAGES
from estuaire.simulator import SimulationPlan, simulate
from estuaire.stack import lifecycle, processes
from estuaire.stack.airflow_client import AirflowClient
from estuaire.storage import error_columns, ledger, migrations
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform
from estuaire.storage.stores import open_store
from estuaire.warehouse import dbt_build
from estuaire.warehouse.query import run_query

pytestmark = pytest.mark.stack

PATIENTS = 90
BAD = ("h02", "2025-11-delta")


def deliver(settings: Settings, upto: int, *, bad: bool = True) -> None:
    plan = SimulationPlan(patients=PATIENTS, upto_sequence=upto, bad_checksum=(BAD,) if bad else ())
    simulate(settings, plan)


def run(settings: Settings) -> Followed:
    return follow(Platform(settings), lambda _: None)


def published(settings: Settings) -> list[dict[str, Any]]:
    """The mart as analysts see it, without the columns that name the release."""
    result = run_query(
        Platform(settings),
        "select * from antibiotic_consumption where grouping = 'total' order by hospital_id, month, scope",
        limit=100_000,
    )
    kept = [i for i, c in enumerate(result.columns) if c not in RELEASE_COLUMNS]
    return [{result.columns[i]: row[i] for i in kept} for row in result.rows]


def release(settings: Settings) -> int:
    return int(
        ledger.fetch(Database.of(settings), "select release_id from control.release where state = 'published'")[0][
            "release_id"
        ]
    )


def delivery(settings: Settings, place: tuple[str, str]) -> dict[str, Any]:
    """The ledger's row of a delivery, with its error's sentence as `estuaire run` shows it."""
    [row] = ledger.fetch(
        Database.of(settings), "select * from control.delivery where hospital_id = %s and delivery_id = %s", place
    )
    error = error_columns.read(row)
    return row | {"error": None if error is None else error.sentence()}


def gates(settings: Settings) -> dict[str, str]:
    """State of each hospital's gate in the newest ingest run, by the name that Airflow shows."""
    with AirflowClient(settings) as client:
        newest = client.dag_runs(INGEST)[0]
        tasks = client.task_instances(INGEST, newest["dag_run_id"])
        assert newest["state"] == "success"
    return {t["rendered_map_index"]: t["state"] for t in tasks if t["task_id"] == "gate"}


@pytest.fixture(scope="module")
def story(running_stack: Settings) -> Settings:
    """The stack with the history delivered and published."""
    deliver(running_stack, 1)
    assert run(running_stack).outcome == "success"
    return running_stack


def test_history_is_published_and_every_record_accounted_for(story: Settings) -> None:
    truth = json.loads((story.root / "simulation" / "truth.json").read_text(encoding="utf-8"))
    accounts = ledger.fetch(Database.of(story), "select * from control.accounting where stage = 'land'")
    for hospital, deliveries in truth["hospitals"].items():
        for table, planted in deliveries["2025-10-full"]["tables"].items():
            account = next(a for a in accounts if (a["hospital_id"], a["table_name"]) == (hospital, table))
            assert account["rows_in"] == planted["rows"]
            assert account["rows_quarantined"] == sum(planted["rejected"].values())
            assert account["rows_unparseable"] == planted["unparseable"]
    assert len(accounts) == 3 * len(load_contract().names)
    for account in accounts:
        for kind in ("rows", "hash"):
            parts = ("out", "quarantined", "superseded", "unparseable")
            assert account[f"{kind}_in"] == sum(account[f"{kind}_{part}"] for part in parts)
    assert len(published(story)) > 0
    assert gates(story) == {"h01": "success", "h02": "success", "h03": "success"}


def test_great_expectations_counted_at_every_gate_what_was_counted_natively(story: Settings) -> None:
    totals = ledger.fetch(Database.of(story), "select * from quality.result where hospital_id = '*'")
    assert all(t["rows_failed_gx"] is not None and t["status"] != "error" for t in totals)
    tables = {stage: {t["table_name"] for t in totals if t["stage"] == stage} for stage in STAGES}
    # the history holds no identity merge: gate 1 judges the empty file, there is nothing to consolidate of it
    written = {
        f["table_name"] for f in ledger.fetch(Database.of(story), "select distinct table_name from control.landed_file")
    }
    assert set(load_contract().names) - {"patient_merge"} <= written
    assert (tables["landed"], tables["consolidated"]) == (set(load_contract().names), written)
    assert tables["conformed"] == set(load_rules("conformed"))
    assert tables["marts"] == set(load_rules("marts"))


def test_each_stage_tells_what_it_cost(story: Settings) -> None:
    stages = ledger.fetch(Database.of(story), "select * from control.stage_run")
    assert {s["stage"] for s in stages} == {"land", "consolidate", "load", "publish"}
    for stage in stages:
        assert stage["state"] == "committed"
        assert stage["seconds"] > 0
        assert stage["cpu_seconds"] > 0
        assert stage["peak_memory_bytes"] > 10_000_000


def test_a_publication_tells_each_models_seconds_and_has_a_page_of_their_lineage(story: Settings) -> None:
    built = ledger.fetch(Database.of(story), "select distinct name from control.model_build where kind = 'model'")
    assert {b["name"] for b in built} == {p.stem for p in (dbt_build.PROJECT / "models").rglob("*.sql")}
    assert (story.root / "models" / "index.html").stat().st_size > 1_000_000


def test_a_second_run_changes_nothing_and_says_so(story: Settings) -> None:
    before = (
        release(story),
        published(story),
        ledger.fetch(Database.of(story), "select count(*) from control.stage_run"),
    )
    result = run(story)
    assert result.outcome == "nothing_new"
    assert "nothing new" in result.message
    assert before == (
        release(story),
        published(story),
        ledger.fetch(Database.of(story), "select count(*) from control.stage_run"),
    )


# ------------------------------------------------------------------------------------------------ what must be refused, or never be seen

CANARIES = {
    "IPP": "Zéphyrine-Canari-IPP",
    "NDA": "Zéphyrine-Canari-NDA",
    "name": "Zéphyrine Canarière",
    "date": "née hier, Zéphyrine Canarillo",
    "specimen": "Zéphyrine-Canari-PREL",
    "damaged": "Zéphyrine Canaridou",
    "NIR": "184127645108946",
    "file": "Zéphyrine-Canari-XLS",
}
FAULTS = {
    ("h01", "no-manifest"): ("E_MANIFEST_MISSING", "manifest.json"),
    ("h01", "malformed"): ("E_MANIFEST_INVALID", "manifest.json"),
    ("h01", "checksum"): ("E_CHECKSUM", "patient.csv"),
    ("h02", "truncated"): ("E_FILE_TRUNCATED", "patient.csv.gz"),
    ("h77", "unknown"): ("E_UNKNOWN_HOSPITAL", ""),
    ("h01", "column"): ("E_COLUMN_MISSING", "patient.csv"),
    ("h01", "retyped"): ("E_COLUMN_RETYPED", "patient.csv"),
    ("h01", "version"): ("E_CONTRACT_VERSION", "manifest.json"),
    ("h01", "outside"): ("E_PATH_OUTSIDE", "manifest.json"),
}


@dataclass(frozen=True)
class Refusing:
    """The run that refuses, and the release that was served before it."""

    before: int
    run: Followed


def _write(
    settings: Settings, hospital: str, name: str, sequence: int, files: dict[str, bytes],
    change: Callable[[dict[str, Any]], object] = lambda _: None, *, manifest: bytes | None = None,
) -> None:  # fmt: skip
    """A delta of h01's or another hospital's, whose manifest ``change`` may spoil."""
    store = open_store(settings)
    entry = load_registry().hospitals.get(hospital)
    document: dict[str, Any] = {
        "contract_version": "1", "finess": entry.finess if entry else "990000000", "delivery_id": name, "sequence": sequence,
        "extracted_at": "2026-01-02T03:00:00+01:00", "kind": "delta", "period": {"from": "2021-01-01", "to": "2026-01-01"},
        "files": [
            {
                "table": path.split(".")[0], "path": path, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data),
                "rows": max(0, data.count(b"\n") - 1),
                "dialect": entry.table_dialect[path.split(".")[0]] if entry else "main",
            }
            for path, data in files.items()
        ],
    }  # fmt: skip
    change(document)
    for path, data in files.items():
        store.put_bytes(f"landing/{hospital}/{name}/{path}", data)
    store.put_bytes(
        f"landing/{hospital}/{name}/manifest.json", json.dumps(document).encode() if manifest is None else manifest
    )


def _patients(rows: list[str], header: str = "IPP;DATE_NAISSANCE;SEXE;INS;op") -> bytes:
    return "".join(f"{line}\n" for line in (header, *rows)).encode()


def _deliver_faults(settings: Settings) -> None:
    """Deliveries of h01 that must each be refused for its own reason, one of an unknown hospital, one sound one with canaries."""
    plain = _patients([f"70{i};01/02/1960;f;;upsert" for i in range(30)])
    c = CANARIES
    code = next(k for k, v in read_code_map(load_registry().get("h01").code_maps["stay_type"]).items() if v == "full")
    sound = _patients(
        [
            f"{c['IPP']};01/02/1960;f;{c['NIR']};{c['name']};upsert",
            f"702{c['IPP']};{c['date']};f;;{c['name']};upsert",
            *(f"7{i};01/02/1960;f;;{c['name']};upsert" for i in range(400)),
            f'"{c["damaged"]};01/02/1960;f;;{c["name"]};upsert',
        ],
        header="IPP;DATE_NAISSANCE;SEXE;INS;NOM;op",
    )
    stays = ("NDA;IPP;DATE_ENTREE;stay_type;op\n" + f"{c['NDA']};{c['IPP']};16/03/2025 08:00;{code};upsert\n").encode()
    _write(settings, "h01", "good", 50, {"patient.csv": sound, "stay.csv": stays})
    _write(settings, "h01", "malformed", 51, {"patient.csv": plain}, lambda d: d.pop("kind"))
    _write(settings, "h01", "checksum", 52, {"patient.csv": plain}, lambda d: d["files"][0].update(sha256="0" * 64))
    _write(settings, "h01", "column", 54, {"patient.csv": _patients(["1;2"], "IPP;INS")})
    retyped = [f"{c['IPP']}{i};{c['date']};f;;upsert" for i in range(40)]
    _write(settings, "h01", "retyped", 55, {"patient.csv": _patients(retyped)})
    _write(settings, "h01", "version", 56, {"patient.csv": plain}, lambda d: d.update(contract_version="9"))
    outside = "../good/patient.csv"
    _write(settings, "h01", "outside", 57, {"patient.csv": plain}, lambda d: d["files"][0].update(path=outside))
    _write(settings, "h01", "no-manifest", 58, {"patient.csv": plain}, manifest=b"")
    piped = [f"{c['IPP']}{i}|1960-02-01|F||upsert" for i in range(2000)]
    packed = gzip.compress(_patients(piped, "patient_id|birth_date|sex|national_id|op"))[:-20]
    _write(settings, "h02", "truncated", 53, {"patient.csv.gz": packed})
    store = open_store(settings)
    store.delete("landing/h01/no-manifest/manifest.json")
    hour_ago = time.time() - 3600  # a younger one would still be arriving
    os.utime(settings.store_path / "landing/h01/no-manifest/patient.csv", (hour_ago, hour_ago))
    store.put_bytes("landing/h77/unknown/manifest.json", b"{}")


def _ingest_logs(settings: Settings) -> str:
    """Task logs of the newest ingest run, all tasks."""
    with AirflowClient(settings) as client:
        newest = client.dag_runs(INGEST)[0]["dag_run_id"]
    folder = settings.logs / "airflow" / f"dag_id={INGEST}" / f"run_id={newest}"
    return "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.log"))


@pytest.fixture(scope="module")
def refusing(story: Settings) -> Refusing:
    """One run of a delivery with a wrong checksum, one each of many other faults, and sound ones of the same hospitals and another."""
    before = release(story)
    deliver(story, 2)
    _deliver_faults(story)
    return Refusing(before, run(story))


def test_a_bad_delivery_is_blocked_and_the_others_publish(story: Settings, refusing: Refusing) -> None:
    blocked = delivery(story, BAD)
    assert (blocked["state"], blocked["error_code"]) == ("blocked", "E_CHECKSUM")
    for part in ("h02/2025-11-delta", ".csv", "What to do"):
        assert part in blocked["error"]
    assert [delivery(story, (h, "2025-11-delta"))["state"] for h in ("h01", "h03")] == ["landed", "landed"]
    assert sorted(refusing.run.blocked) == sorted(delivery(story, place)["error"] for place in (BAD, *FAULTS))
    assert release(story) == refusing.before + 1
    told = gates(story)
    assert {h: told[h] for h in ("h01", "h02", "h03")} == {"h01": "failed", "h02": "failed", "h03": "success"}
    with AirflowClient(story) as client:
        newest = client.dag_runs(INGEST)[0]["dag_run_id"]
        index = next(
            t["map_index"]
            for t in client.task_instances(INGEST, newest)
            if t["task_id"] == "gate" and t["rendered_map_index"] == "h02"
        )
        log = client.task_log(INGEST, newest, "gate", map_index=index)
    assert "E_CHECKSUM" in log
    assert "h02/2025-11-delta" in log


def test_each_faulty_delivery_is_refused_by_its_own_error_and_the_others_go_on(
    story: Settings, refusing: Refusing
) -> None:
    assert refusing.run.outcome == "success"
    assert delivery(story, ("h01", "good"))["state"] == "landed"
    logs = _ingest_logs(story)
    for place, (code, file) in FAULTS.items():
        row = delivery(story, place)
        assert (place, row["state"], row["error_code"]) == (place, "blocked", code)
        assert file in row["error"]
        assert "/".join(place) in row["error"]
        assert row["error_remedy"]
        assert row["error_remedy"] in row["error"]
        # the same sentence stands in a task's log
        assert json.dumps(row["error"], ensure_ascii=False)[1:-1] in logs.replace("\\n", " ") or row["error"] in logs, (
            place
        )


def test_the_same_id_with_other_bytes_is_refused(story: Settings) -> None:
    _write(story, "h01", "good", 50, {"patient.csv": _patients(["70;01/02/1960;f;;upsert"])})
    with contextlib.suppress(RunFailed):  # nothing else came: the run has nothing to land, and says so
        run(story)
    good = delivery(story, ("h01", "good"))
    assert (good["state"], good["error_code"]) == ("landed", "E_DELIVERY_CHANGED")
    assert "h01/good" in good["error"]
    assert "[E_DELIVERY_CHANGED] delivery h01/good" in _ingest_logs(story)
    _deliver_faults(story)  # the first bytes again


def _mend(settings: Settings) -> None:
    """What the hospital does: write the manifest again, with the checksums of the files that it sends."""
    store = open_store(settings)
    key = f"landing/{BAD[0]}/{BAD[1]}/manifest.json"
    with store.open(key) as stream:
        manifest = json.loads(stream.read())
    for file in manifest["files"]:
        with store.open(f"landing/{BAD[0]}/{BAD[1]}/{file['path']}") as stream:
            file["sha256"] = hashlib.sha256(stream.read()).hexdigest()
    store.put_bytes(key, json.dumps(manifest, indent=2).encode())


def _until(condition: Callable[[], bool], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


@pytest.mark.faults
def test_a_mended_delivery_lands_and_a_killed_scheduler_costs_nothing(story: Settings) -> None:
    before = release(story)
    _mend(story)
    deliver(story, 3, bad=False)
    ended: list[Followed | BaseException] = []

    def following() -> None:
        try:
            ended.append(run(story))
        except BaseException as error:  # noqa: BLE001 - handed to the test below
            ended.append(error)

    known = len(ledger.fetch(Database.of(story), "select 1 from control.stage_run where stage = 'land'"))
    thread = threading.Thread(target=following)
    thread.start()
    _until(
        lambda: len(ledger.fetch(Database.of(story), "select 1 from control.stage_run where stage = 'land'")) > known
    )
    scheduler = processes.find(story, "scheduler")
    assert scheduler is not None
    scheduler.kill()
    time.sleep(2)
    lifecycle.up(story)
    thread.join(timeout=900)
    assert not thread.is_alive()
    assert isinstance(ended[0], Followed), ended
    assert ended[0].outcome == "success"
    assert delivery(story, BAD)["state"] == "landed"
    states = ledger.fetch(Database.of(story), "select hospital_id, delivery_id, state from control.delivery")
    assert {s["state"] for s in states if (s["hospital_id"], s["delivery_id"]) not in FAULTS} == {"landed"}
    assert release(story) > before


def _forms(value: str) -> set[str]:
    """A value as it may have slipped through: plain, upper and lower case, without accents, base64, sha256."""
    bare = "".join(ch for ch in unicodedata.normalize("NFD", value) if not unicodedata.combining(ch))
    plain = {
        form
        for text in (value, bare)
        for form in (text, text.upper(), text.lower(), unicodedata.normalize("NFD", text))
    }
    coded = {base64.b64encode(p.encode()).decode().rstrip("=")[:-1] for p in plain}
    return plain | coded | {hashlib.sha256(p.encode()).hexdigest() for p in plain}


def _identifiers(settings: Settings) -> set[str]:
    """Local ids and national identifiers of every patient delivered."""
    found: set[str] = set()
    registry = load_registry()
    for item in open_store(settings).list("landing/"):
        hospital_id, name = item.key.split("/")[1], item.key.split("/")[-1]
        if not name.startswith("patient.") or hospital_id not in registry.hospitals or "truncated" in item.key:
            continue
        hospital = registry.get(hospital_id)
        dialect = hospital.dialects[hospital.table_dialect["patient"]]
        with open_store(settings).open(item.key) as stream:
            raw = stream.read()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode(dialect.encoding)
        names = {v: k for k, v in hospital.columns_of("patient").items()}
        for row in csv.DictReader(io.StringIO(text), delimiter=dialect.delimiter, quoting=csv.QUOTE_NONE):
            for column in ("patient_id", "national_id"):
                value = row.get(names.get(column, column)) or ""
                if len(value) >= 8:
                    found.add(value)
    return found


def _outside_landing(settings: Settings) -> Iterator[tuple[str, str]]:
    """(name, text) of all that the platform wrote outside landing/: logs, reports, the lake's rows, both databases' tables."""
    skipped = (settings.store_path / "landing", settings.root / "simulation", settings.secrets_path)
    for path in sorted(settings.root.rglob("*")):
        if not path.is_file() or any(path.is_relative_to(folder) for folder in skipped) or "pgdata" in path.parts:
            continue
        if path.suffix == ".parquet":
            with duckdb.connect() as duck:
                text = "\n".join(
                    str(row) for row in duck.execute("select * from read_parquet(?)", [str(path)]).fetchall()
                )
        elif path.stat().st_size < 200_000_000 and "postgres" not in path.relative_to(settings.root).parts[:1]:
            text = path.read_bytes().decode("utf-8", errors="replace")
        else:
            continue
        yield str(path.relative_to(settings.root)), text
    for database, role in ((settings.postgres_database, "estuaire"), ("airflow", "airflow")):
        with psycopg2.connect(Database.of(settings).dsn(role, database)) as session, session.cursor() as cursor:
            cursor.execute(
                "select format('%I.%I', schemaname, tablename) from pg_tables "
                "where schemaname not in ('pg_catalog', 'information_schema')"
            )
            for (table,) in cursor.fetchall():
                content = io.StringIO()
                cursor.copy_expert(f"copy (select * from {table}) to stdout", content)
                yield f"{database}: {table}", content.getvalue()


def test_no_identifier_left_landing(story: Settings) -> None:
    """Identifiers of every delivery, and canaries in every form, searched for in logs, lake, XCom, ledger, quality results and warehouse."""
    identifiers = _identifiers(story)
    assert len(identifiers) > PATIENTS
    canaries = {form for value in CANARIES.values() for form in _forms(value)}
    pattern = re.compile("|".join(re.escape(v) for v in sorted(canaries)))
    word = re.compile(r"[0-9]{8,15}")
    kinds: Counter[str] = Counter()
    for name, text in _outside_landing(story):
        kinds["lake" if name.endswith(".parquet") else "table" if ": " in name else "file"] += 1
        assert not pattern.search(text), name
        # administration ids and times are numbers too: only whole numbers that are identifiers count
        assert not identifiers & set(word.findall(text)), name
    assert kinds["lake"] > 50
    assert kinds["table"] > 80
    assert kinds["file"] > 20
    # the search finds what is there to be found
    [(label,)] = [(t,) for n, t in _outside_landing(story) if n.endswith(".parquet") and "/administration/" in n][:1]
    assert "PARACETAMOL" in label


@pytest.mark.faults
def test_a_fresh_database_and_other_workers_give_the_same_tables(story: Settings) -> None:
    before = copied(story)
    assert len(before) > 15
    assert sum(map(len, before.values())) > 100_000
    with psycopg2.connect(Database.of(story).dsn()) as session, session.cursor() as cursor:
        for schema in ("control", "quality", "staging", "marts", "conformed", "stats", "lake"):
            cursor.execute(f"drop schema if exists {schema} cascade")
        cursor.execute("select nspname from pg_namespace where nspname like 'marts%' or nspname like 'conformed%'")
        for (schema,) in cursor.fetchall():
            cursor.execute(f"drop schema {schema} cascade")
        cursor.execute("drop table estuaire_version")
    shutil.rmtree(story.store_path / "lake")
    lifecycle.down(story)
    alone = story.model_copy(update={"spark_master": "local[1]"})
    lifecycle.up(alone)
    migrations.upgrade(Database.of(alone))
    assert run(alone).outcome == "success"
    after = copied(alone)
    assert {name for name in before if before[name] != after.get(name)} == set()
    assert before.keys() == after.keys()
