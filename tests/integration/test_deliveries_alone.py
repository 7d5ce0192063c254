"""Whatever one delivery or one hospital holds ends at it, is said once, and is lifted by what mends it: discovery, landing, the run."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from small_platform import SmallPlatform, dose, registry_of

from estuaire.base import errors, faults
from estuaire.base.errors import DeliveryChanged, EstuaireError, GateBlocked, RunFailed, StoreUnavailable
from estuaire.base.run_names import INGEST
from estuaire.contract.registry import FOLDER, load_registry
from estuaire.deliveries import landing_scan
from estuaire.operations.pipeline_run import _blocked
from estuaire.orchestration import consolidation_inputs, tasks
from estuaire.runs.explain import explain
from estuaire.storage import ledger
from spark_jobs import consolidate, land, load
from spark_jobs.stage import reported

A = {"administration": [dose("A")]}


@pytest.fixture(scope="module")
def shared(new_platform: Callable[[], SmallPlatform]) -> SmallPlatform:
    """One platform for what only discovery looks at; each test has hospitals of its own."""
    return new_platform()


def states(platform: SmallPlatform, hospital: str) -> dict[str, tuple[str, str | None]]:
    rows = platform.ask("select delivery_id, state, error_code from control.delivery where hospital_id = %s", hospital)
    return {d: (state, code) for d, state, code in rows}


def folder_of(platform: SmallPlatform, hospital: str, delivery: str = "") -> Path:
    return platform.settings.store_path / "landing" / hospital / delivery


# ------------------------------------------------------------------------------------------------ one evil delivery (C19)


def _evil(platform: SmallPlatform) -> dict[str, tuple[str, str]]:
    """Deliveries of h02, each evil in its own way -> (state, code)."""
    put, root = platform.store.put_bytes, folder_of(platform, "h02")

    def changed(name: str, sequence: int, change: Callable[[dict[str, Any]], object]) -> None:
        platform.deliver(name, sequence, hospital="h02", change=change, **A)

    changed("large", 10, lambda d: d.update(sequence=2**63))
    changed("float", 11, lambda d: d.update(sequence=11.0))
    changed("offset", 12, lambda d: d.update(extracted_at="2025-11-01T03:15:00+23:00"))
    changed("rows", 13, lambda d: d["files"][0].update(rows=1e30))
    changed("ev\n", 14, lambda d: None)
    changed("linked", 15, lambda d: None)
    (root / "linked" / "administration.csv").unlink()
    (root / "linked" / "administration.csv").symlink_to(folder_of(platform, "h01", "sound") / "administration.csv")
    changed("pipe", 16, lambda d: None)
    (root / "pipe" / "administration.csv").unlink()
    os.mkfifo(root / "pipe" / "administration.csv")
    put("landing/h02/deep-json/manifest.json", b"[" * 100_000)
    put("landing/h02/huge/manifest.json", b" " * (6 << 20))
    changed("name", 17, lambda d: None)
    Path(os.fsdecode(os.fsencode(root) + b"/name/\xe9t\xe9.csv")).write_bytes(b"x")
    (root / "tree").mkdir()
    handle = os.open(root / "tree", os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("x", dir_fd=handle)
        below = os.open("x", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(handle)
    (root / "link").symlink_to(folder_of(platform, "h01", "sound"))
    invalid, outside, entry = (("blocked", f"E_{c}") for c in ("MANIFEST_INVALID", "PATH_OUTSIDE", "ENTRY"))
    return dict.fromkeys(("large", "float", "offset", "rows", "ev\n", "deep-json", "huge"), invalid) | {
        "linked": outside, "link": outside, "pipe": entry, "name": entry, "tree": entry,
    }  # fmt: skip


def test_evil_deliveries_are_typed_each_and_stop_no_other(shared: SmallPlatform) -> None:
    shared.deliver("sound", 1, **A)
    expected = _evil(shared)
    (folder_of(shared, "h03").parent / "h03").symlink_to(folder_of(shared, "h01"))
    os.mkdir(os.fsencode(folder_of(shared, "h01").parent) + b"/h\xe9")
    try:
        found = shared.discover()
        assert found.pending == [("h01", "sound")]
        assert states(shared, "h02") == expected
        assert states(shared, "h03") == {"(folder)": ("blocked", "E_PATH_OUTSIDE")}
        assert states(shared, "h\\xe9") == {"(folder)": ("blocked", "E_ENTRY")}
        blocked = shared.errors("control.delivery", "state = 'blocked'")
        assert len(blocked) > 3
        assert all(error.sentence().isprintable() for error in blocked)
        # said once
        again = shared.discover()
        assert (again.blocked, again.pending) == ([], [("h01", "sound")])
    finally:
        subprocess.run(["rm", "-rf", str(folder_of(shared, "h01").parent)], check=True)


# ------------------------------------------------------------------------------------------------ any error, one delivery (A3)


def _kinds(kind: type[EstuaireError]) -> list[type[EstuaireError]]:
    return [
        k
        for below in kind.__subclasses__()
        for k in (below, *_kinds(below))
        if k.__module__.startswith(errors.__name__)
    ]


FOREIGN: list[BaseException] = [
    UnicodeDecodeError("utf-8", b"x", 0, 1, "x"), OverflowError(), MemoryError(), RecursionError(), OSError(28, "full"), ValueError(),
    KeyError("x"), TypeError(), EOFError(), type("Panic", (BaseException,), {})(),
]  # fmt: skip


def test_an_error_of_any_class_while_a_delivery_is_looked_at_ends_at_it(
    shared: SmallPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    thrown = {
        f"d{i:02d}": e for i, e in enumerate([*(k("no", remedy="mend") for k in _kinds(EstuaireError)), *FOREIGN])
    }
    for sequence, name in enumerate(("sound", *thrown), start=1):
        shared.deliver(name, sequence, hospital="h04", headers={"administration": "x"}, administration=[])
    read = landing_scan.read_manifest

    def look(store: Any, registry: Any, hospital: str, delivery: str) -> Any:
        if delivery in thrown:
            raise thrown[delivery]
        return read(store, registry, hospital, delivery)

    monkeypatch.setattr(landing_scan, "read_manifest", look)
    found = shared.discover()
    assert found.pending == [("h04", "sound")]
    noted = states(shared, "h04")
    for name, error in thrown.items():
        if isinstance(error, EstuaireError) and error.retryable and error.code != "E_TASK":
            assert ("h04", name) in found.unread  # the store did not answer: nothing is known of it
            assert name not in noted
        elif isinstance(error, errors.ManifestMissing):
            assert noted[name] == ("arriving", None)
        else:
            assert noted[name] == ("blocked", error.code if isinstance(error, EstuaireError) else "E_TASK")
    # what lay with us passes once it is mended; what lay with the hospital waits for other bytes
    monkeypatch.undo()
    shared.discover()
    noted = states(shared, "h04")
    mended = {n for n, (state, _) in noted.items() if state == "received"}
    assert {n for n in thrown if noted[n][0] == "blocked"} == {
        n for n, e in thrown.items()
        if isinstance(e, EstuaireError) and not e.retryable and e.code not in landing_scan.OURS | {"E_MANIFEST_MISSING"}
    }  # fmt: skip
    assert "sound" in mended
    shutil.rmtree(folder_of(shared, "h04"))


# ------------------------------------------------------------------------------------------------ arriving, withdrawn (A9, C20)


def test_an_upload_in_progress_is_arriving_and_blocked_only_once_nothing_comes_any_more(shared: SmallPlatform) -> None:
    shared.deliver("d1", 1, hospital="h05", **A)
    place = folder_of(shared, "h05", "d1")
    manifest = (place / "manifest.json").read_bytes()
    whole = (place / "administration.csv").read_bytes()

    def seen(age: float) -> tuple[str, str | None]:
        for path in place.iterdir():
            os.utime(path, (time.time() - age, time.time() - age))
        shared.discover()
        return states(shared, "h05")["d1"]

    (place / "manifest.json").unlink()
    run_id = f"run-arriving-{time.time_ns()}"
    discovery = tasks.discover(shared, run_id)
    assert "h05" not in discovery.hospitals
    assert states(shared, "h05")["d1"] == ("arriving", None)
    [step] = explain(shared, "h05/d1").next
    assert step.kind == "wait"
    assert seen(60) == ("arriving", None)
    assert seen(3600) == ("blocked", "E_MANIFEST_MISSING")
    assert seen(-86400) == ("blocked", "E_MANIFEST_MISSING")  # a clock gone wrong is no upload
    (place / "manifest.json").write_bytes(manifest)
    (place / "administration.csv").write_bytes(whole[:-1])
    assert seen(60) == ("arriving", None)
    assert seen(3600) == ("blocked", "E_CHECKSUM")
    (place / "administration.csv").unlink()
    assert seen(60) == ("arriving", None)
    assert seen(3600) == ("blocked", "E_FILE_MISSING")
    (place / "administration.csv").write_bytes(whole + b"x")
    assert seen(60) == ("blocked", "E_CHECKSUM")  # it will not become shorter
    (place / "administration.csv").write_bytes(whole)
    assert seen(60) == ("received", None)
    shutil.rmtree(folder_of(shared, "h05"))


def test_a_delivery_that_is_taken_away_is_withdrawn_said_once_and_comes_back(shared: SmallPlatform) -> None:
    shared.deliver("good", 1, hospital="h06", **A)
    shared.deliver("bad", 2, hospital="h06", change=lambda d: d.pop("kind"), **A)
    shared.discover()
    assert states(shared, "h06") == {"good": ("received", None), "bad": ("blocked", "E_MANIFEST_INVALID")}
    kept = folder_of(shared, "h06").rename(shared.settings.store_path / "aside")
    found = shared.discover()
    assert sorted(found.withdrawn) == [("h06", "bad"), ("h06", "good")]
    assert found.notes == ["withdrawn: h06/bad, h06/good"]
    assert "h06" not in found.hospitals
    assert states(shared, "h06") == {"good": ("withdrawn", None), "bad": ("withdrawn", None)}
    assert shared.discover().withdrawn == []
    assert explain(shared, "h06/bad").stopped == []
    # no retry that would fail the same way (the other is that this test's runs are not ended)
    assert {s.kind for s in explain(shared, "h06/bad").next} <= {"query", "follow"}
    kept.rename(folder_of(shared, "h06"))
    shared.discover()
    assert states(shared, "h06") == {"good": ("received", None), "bad": ("blocked", "E_MANIFEST_INVALID")}
    shutil.rmtree(folder_of(shared, "h06"))


# ------------------------------------------------------------------------------------------------ the registry (A3)


def test_a_hospital_whose_entry_is_wrong_or_gone_is_set_aside_and_lands_once_it_is_mended(
    shared: SmallPlatform, tmp_path: Path
) -> None:
    own = registry_of(tmp_path, "h21", "h22", "h23")
    platform = shared.but(registry_dir=own)
    for hospital in ("h21", "h22", "h23"):
        platform.deliver("d1", 1, hospital=hospital, **A)
    entry = own / "hospitals" / "h21.yml"
    right = entry.read_text(encoding="utf-8")
    entry.write_text(right.replace("Europe/Paris", "Europe/Lutece"), encoding="utf-8")
    (own / "hospitals" / "h22.yml").rename(tmp_path / "h22.yml")
    load_registry.cache_clear()
    run_id = f"run-registry-{time.time_ns()}"
    discovery = tasks.discover(platform, run_id)
    assert {"h21", "h22", "h23"} <= set(discovery.hospitals)
    found = {h: states(platform, h)["d1"] for h in ("h21", "h22", "h23")}
    assert found == {
        "h21": ("blocked", "E_CONTRACT"),
        "h22": ("blocked", "E_UNKNOWN_HOSPITAL"),
        "h23": ("received", None),
    }
    [(message,)] = platform.ask("select message from control.run where run_id = %s", run_id)
    assert "h21.yml at $.timezone: unknown time zone" in message
    # nothing is to be done for what was received of a hospital that leaves afterwards, but to say so
    entry.write_text(right, encoding="utf-8")
    (tmp_path / "h22.yml").rename(own / "hospitals" / "h22.yml")
    load_registry.cache_clear()
    assert {h for h, _ in platform.discover().pending} >= {"h21", "h22", "h23"}
    load_registry.cache_clear()


# ------------------------------------------------------------------------------------------------ what was received is what lands


def test_a_correction_that_comes_between_the_lakes_commit_and_the_ledgers_is_not_taken_for_what_landed(
    platform: SmallPlatform,
) -> None:
    """C25: the ledger had the new hash, the lake the old rows, and nobody ever landed the correction."""
    platform.deliver("d1", 1, administration=[dose("A", "1")])
    platform.discover()
    before = platform.ask("select content_hash from control.delivery")

    def killed() -> None:
        raise KeyboardInterrupt

    faults.at("lake.committed", killed)
    try:
        with pytest.raises(KeyboardInterrupt):
            platform.land()
    finally:
        faults.clear()
    platform.deliver("d1", 1, administration=[dose("A", "2")])
    assert platform.discover().pending == [("h01", "d1")]
    assert platform.ask("select content_hash from control.delivery") == before
    platform.land()
    assert platform.state("d1") == ("landed", None)
    assert platform.ask("select content_hash from control.delivery") == before
    assert [float(r[0]) for r in platform.in_lake("select dose from lake.landed.administration")] == [1.0]
    assert platform.discover().changed_after_landing == [("h01", "d1")]
    assert platform.state("d1") == ("landed", "E_DELIVERY_CHANGED")


def test_a_manifest_that_changes_between_discovery_and_landing_lands_neither_and_the_next_run_takes_it_up(
    platform: SmallPlatform,
) -> None:
    platform.deliver("d1", 1, administration=[dose("A", "1")])
    platform.deliver("d2", 2, administration=[dose("B", "1")])
    platform.discover()
    platform.deliver("d1", 1, administration=[dose("A", "2")])
    result = land.run(platform, platform.new_run(), platform.spark)
    assert result == {"landed": 1, "blocked": 0, "rows": 1, "waiting": 1}
    assert platform.state("d1") == ("received", DeliveryChanged.code)
    assert "again" in {step.kind for step in explain(platform, "h01/d1").next}
    assert platform.land()["landed"] == 1
    assert sorted(float(r[0]) for r in platform.in_lake("select dose from lake.landed.administration")) == [1.0, 2.0]


def test_the_same_bytes_extracted_at_another_moment_are_a_no_op(platform: SmallPlatform) -> None:
    for moment in ("2025-11-01T00:00:00+00:00", "2025-11-02T00:00:00+00:00"):
        platform.deliver("d1", 1, change=lambda d, m=moment: d.update(extracted_at=m), **A)  # type: ignore[misc]
        platform.land()
    assert platform.state("d1") == ("landed", None)
    assert platform.discover().unchanged == 1


# ------------------------------------------------------------------------------------------------ gates and the end of a run


def test_a_block_of_an_earlier_run_is_told_and_does_not_make_this_runs_gate_red(shared: SmallPlatform) -> None:
    shared.deliver("old", 1, hospital="h07", change=lambda d: d.pop("kind"), **A)
    first = shared.new_run()
    landing_scan.discover(shared, first)
    with pytest.raises(GateBlocked, match="old"):
        tasks.hospital_verdict(shared.database, first, "h07")
    shared.deliver("new", 2, hospital="h07", **A)
    second = shared.new_run()
    landing_scan.discover(shared, second)
    lines = tasks.hospital_verdict(shared.database, second, "h07")
    assert sorted(lines) == ["new: received", "old: blocked before this run (E_MANIFEST_INVALID)"]
    assert _blocked(shared.database, second, [second]) == []
    # a landed delivery keeps its run; what is found of it in this one is this one's
    shared.execute(
        "update control.delivery set state = 'landed', snapshot_id = 1, run_id = 'long ago', error_code = 'E_DELIVERY_CHANGED', "
        "error_what = 'changed', updated_at = now() where hospital_id = 'h07' and delivery_id = 'new'"
    )
    with pytest.raises(GateBlocked, match="changed"):
        tasks.hospital_verdict(shared.database, second, "h07")
    shared.execute("delete from control.delivery where hospital_id = 'h07'")
    shutil.rmtree(folder_of(shared, "h07"))


def _ingest(platform: SmallPlatform) -> str:
    run_id = f"ingest-{time.time_ns()}"
    ledger.start_run(platform.database, run_id, INGEST)
    return run_id


def test_a_run_whose_discovery_or_landing_never_began_is_no_success(
    shared: SmallPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something waited downstream, so `accept` said "0 deliveries landed, 0 blocked" and success."""
    monkeypatch.setattr(tasks, "downstream_work", lambda _: True)
    monkeypatch.setattr(tasks, "build_quietly", lambda *_, **__: None)
    run_id = _ingest(shared)
    with pytest.raises(RunFailed, match="landing did not begin"):
        tasks.accept(shared, run_id)
    assert shared.ask("select state from control.run where run_id = %s", run_id) == [("failed",)]

    # discovery died: what it died of is the run's message
    def away(*_: object) -> None:
        raise StoreUnavailable("the object store does not answer", remedy="wait")

    monkeypatch.setattr(landing_scan, "discover", away)
    run_id = f"ingest-{time.time_ns()}"
    with pytest.raises(StoreUnavailable):
        tasks.discover(shared, run_id)
    [(state, ended)] = shared.ask("select state, ended_at from control.run where run_id = %s", run_id)
    assert (state, ended) == ("running", None)  # Airflow tries it again
    with pytest.raises(RunFailed, match=r"discovery did not finish.*E_STORE"):
        tasks.accept(shared, run_id)

    # landing died before its stage began: the typed error is there, and permanent
    run_id = _ingest(shared)

    def broken() -> None:
        raise errors.SetupError("the secret 'pseudonym_key' is not there", remedy="run `estuaire up`")

    with pytest.raises(errors.SetupError):
        reported(shared.database, run_id, "land", broken)
    assert shared.ask("select state, retryable from control.stage_run where run_id = %s", run_id) == [("failed", False)]
    with pytest.raises(RunFailed, match=r"landing did not finish.*E_SETUP.*pseudonym_key"):
        tasks.accept(shared, run_id)

    # one that failed once it had begun is noted once
    run_id = _ingest(shared)
    stage = ledger.begin_stage(shared.database, run_id, "land")

    def fails() -> None:
        ledger.begin_stage(shared.database, run_id, "land")
        raise KeyError("x")

    with pytest.raises(KeyError):
        reported(shared.database, run_id, "land", fails)
    assert shared.ask("select count(*) from control.stage_run where run_id = %s", run_id) == [(2,)]
    assert stage.run_id == run_id

    # one that landed is a success
    run_id = _ingest(shared)
    stage = ledger.begin_stage(shared.database, run_id, "land")
    shared.execute("update control.stage_run set state = 'committed' where run_id = %s", run_id)
    assert tasks.accept(shared, run_id) == "0 deliveries landed, 0 blocked"


# ------------------------------------------------------------------------------------------------ any error, one hospital (A3)

SOUND = "h100"


def _thrower(step: Any, thrown: dict[str, BaseException], of: Callable[[Any], str]) -> Callable[[Any, Any], Any]:
    """A stage's step that raises a hospital's own error; shipped to Spark's tasks by value."""

    def throwing(settings: Any, work: Any) -> Any:
        if of(work) in thrown:
            raise thrown[of(work)]
        return step(settings, work)

    return throwing


@pytest.mark.faults
def test_an_error_of_any_class_in_a_stage_ends_at_its_hospital_and_the_others_are_published(
    new_platform: Callable[[], SmallPlatform], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hospital for each class of error, and a sound one, through landing, consolidation and load."""
    raised: list[BaseException] = [k("no", remedy="mend") for k in _kinds(EstuaireError)]
    raised += [
        UnicodeDecodeError("utf-8", b"x", 0, 1, "x"),
        OverflowError(),
        MemoryError(),
        RecursionError(),
        OSError(28, "full"),
    ]
    raised += [ValueError(), KeyError("x")]
    raised += [csv.Error("x"), duckdb.ConversionException("x"), pa.ArrowInvalid("x")]
    thrown = {f"h{i}": error for i, error in enumerate(raised, start=101)}
    platform = new_platform()
    own = registry_of(tmp_path, SOUND, *thrown)
    platform = platform.but(registry_dir=own)
    for hospital in (SOUND, *thrown):
        platform.deliver("d1", 1, hospital=hospital, **A)

    monkeypatch.setattr(land, "land_one", _thrower(land.land_one, thrown, lambda w: w.hospital))
    assert platform.land()["landed"] == 1
    noted = dict(platform.ask("select hospital_id, error_code from control.delivery where error_code is not null"))
    assert noted == {
        h: e.code if isinstance(e, EstuaireError) else "E_DISK_FULL" if isinstance(e, OSError) else "E_TASK"
        for h, e in thrown.items()
    }
    for error in platform.errors("control.delivery"):
        assert (error.delivery, error.file) == ("d1", "administration.csv")
        assert f"delivery {error.hospital}/d1: file administration.csv:" in error.sentence()
    monkeypatch.undo()
    # what may pass, or lies with us, is tried again by the next run; what lies with the delivery waits for the hospital
    platform.execute("update control.delivery set state = 'received', error_code = null where state = 'blocked'")
    assert platform.land()["landed"] == len(thrown)

    monkeypatch.setattr(
        consolidate, "consolidate_one", _thrower(consolidate.consolidate_one, thrown, lambda w: w.hospital)
    )
    result = platform.consolidate()
    assert (result["hospitals"], result["blocked"]) == ([SOUND], sorted(thrown))
    monkeypatch.undo()
    platform.execute("delete from control.consolidation_block")
    assert platform.consolidate()["hospitals"] == sorted(thrown)

    monkeypatch.setattr(load, "load_one", _thrower(load.load_one, thrown, lambda w: w[0].hospital))
    assert platform.load()["hospitals"] == [SOUND]
    [(message,)] = platform.ask("select message from control.stage_run where stage = 'load'")
    assert all(f"delivery {h}:" in message for h in thrown)
    assert platform.ask("select count(*) from staging.administration") == [(1,)]
    monkeypatch.undo()
    assert platform.load()["hospitals"] == sorted(thrown)
    load_registry.cache_clear()

    # a hospital that leaves the registry, and one whose code map is spoilt, once all are there: the others go on
    (own / "hospitals" / "h101.yml").unlink()
    (own / "code_maps" / "h102" / "route.csv").write_bytes(
        "local_code,standard_code,reviewer,reviewed_on\né,x,a,b\n".encode("cp1252")
    )
    (own / "hospitals" / "h103.yml").write_text("id: h103\n", encoding="utf-8")
    load_registry.cache_clear()
    platform.deliver("d2", 2, hospital=SOUND, administration=[dose("B")])
    assert platform.land()["landed"] == 1
    result = platform.consolidate()
    assert (result["hospitals"], result["blocked"]) == ([SOUND], ["h101", "h102", "h103"])
    told = dict(platform.ask("select hospital_id, error_what from control.consolidation_block"))
    codes = dict(platform.ask("select hospital_id, error_code from control.consolidation_block"))
    assert codes["h101"] == "E_UNKNOWN_HOSPITAL"
    assert "code map h102/route.csv line 2 is not in UTF-8; it looks like windows-1252" in told["h102"]
    assert "h103.yml" in told["h103"]
    assert platform.load()["hospitals"] == [SOUND]
    assert platform.ask("select count(distinct hospital_id) from staging.administration") == [(len(thrown) + 1,)]
    assert platform.ask("select count(*) from staging.hospital where hospital_id in ('h101', 'h103')") == [(2,)]
    # a query changes nothing; the next scan forgets a block that no longer stands
    assert consolidation_inputs.changed(platform) == []
    assert platform.ask("select count(*) from control.consolidation_block") == [(3,)]
    shutil.rmtree(own / "code_maps" / "h102")
    shutil.copytree(FOLDER / "code_maps" / "h01", own / "code_maps" / "h102")
    load_registry.cache_clear()
    assert consolidation_inputs.changed(platform) == []
    assert platform.ask("select count(*) from control.consolidation_block") == [(3,)]
    consolidation_inputs.forget_blocks(platform)
    assert platform.ask("select hospital_id from control.consolidation_block order by 1") == [("h101",), ("h103",)]
    load_registry.cache_clear()


def test_the_manifest_in_the_ledger_is_what_a_task_reads(shared: SmallPlatform) -> None:
    shared.deliver("d1", 1, hospital="h08", **A)
    shared.discover()
    registry = load_registry(shared.settings.registry_dir)
    [row] = [r for r in land.received(shared.database) if r["hospital_id"] == "h08"]
    manifest = landing_scan.received_manifest(row, registry)
    assert json.loads(manifest.to_json()) == row["manifest"]
    with pytest.raises(DeliveryChanged):
        landing_scan.received_manifest(row | {"content_hash": "0" * 64}, registry)
    shutil.rmtree(folder_of(shared, "h08"))
