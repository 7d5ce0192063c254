"""Land: from landing/ to the lake, delivery by delivery, against the simulator's truth; nothing lost, nothing half done."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from small_platform import SmallPlatform, dose, rewrite

from estuaire.base.errors import AccountingImbalance

BAD = ("h03", "2025-12-delta")
# damaged bytes by trap, and how landing names what it found
DAMAGE = {
    "administration.stray_quote": "administration.record.quote",
    "administration.invalid_byte": "administration.record.encoding",
    "administration.nul_byte": "administration.record.nul",
}


# ------------------------------------------------------------------------------------------------ a simulated world


@pytest.fixture(scope="module")
def landed(new_platform: Callable[[], SmallPlatform], world: Any) -> tuple[SmallPlatform, dict[str, int]]:
    """Every delivery of the world, landed in one run."""
    platform = new_platform()
    for hospital, deliveries in world.truth["hospitals"].items():
        for delivery in deliveries:
            platform.copy_delivery(world.folder, hospital, delivery)
    return platform, platform.land()


def _truths(world: Any) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    for hospital, deliveries in world.truth["hospitals"].items():
        for delivery, truth in deliveries.items():
            if (hospital, delivery) != BAD:
                for table, expected in truth["tables"].items():
                    yield hospital, delivery, table, expected


def _deliveries(world: Any) -> int:
    """Three of each hospital, and the one that a hospital sends again."""
    count = sum(len(deliveries) for deliveries in world.truth["hospitals"].values())
    assert count == 10
    return count


def test_all_deliveries_land_but_the_one_with_a_wrong_checksum(landed: Any, world: Any) -> None:
    platform, result = landed
    assert (result["landed"], result["blocked"]) == (_deliveries(world) - 1, 1)
    states = platform.ask("select hospital_id, delivery_id from control.delivery where state <> 'landed'")
    assert states == [BAD]


def test_the_blocked_delivery_is_named_with_its_file_and_remedy(landed: Any) -> None:
    platform, _ = landed
    [error] = platform.errors("control.delivery", "state = 'blocked'")
    assert (error.code, error.hospital, error.delivery, error.table, error.file) == (
        "E_CHECKSUM", *BAD, "patient", "patient.csv",
    )  # fmt: skip
    assert "upload the file again" in error.remedy
    assert error.sentence().startswith("[E_CHECKSUM] delivery h03/2025-12-delta: file patient.csv: ")
    # the verdict says the same, in the same fields
    assert platform.errors("quality.verdict", "verdict = 'block'") == [error]
    assert platform.ask(
        "select verdict from quality.verdict where hospital_id = 'h03' and delivery_id = '2025-12-delta'"
    ) == [("block",)]
    assert platform.ask(
        "select count(*) from control.landed_file where (hospital_id, delivery_id) = (%s, %s)", *BAD
    ) == [(0,)]
    assert not [k for k in (o.key for o in platform.store.list("lake/")) if "h03" in k and "2025-12-delta" in k]


def test_the_accounting_is_the_truths(landed: Any, world: Any) -> None:
    platform, _ = landed
    found = {
        r[:3]: r[3:]
        for r in platform.ask(
            "select hospital_id, delivery_id, table_name, rows_in, rows_out, rows_quarantined, rows_superseded, "
            "rows_unparseable from control.accounting where stage = 'land'"
        )
    }
    expected = {}
    for hospital, delivery, table, truth in _truths(world):
        rejected, damaged = sum(truth["rejected"].values()), truth["unparseable"]
        out = truth["rows"] - rejected - damaged
        expected[hospital, delivery, table] = (truth["rows"], out, rejected, 0, damaged)
    assert found == expected
    assert sum(v[2] for v in expected.values()) > 20, "the world has something to reject"
    assert sum(v[4] for v in expected.values()) > 5, "the world has damaged bytes"


def test_every_rejected_record_broke_the_planted_rule(landed: Any, world: Any) -> None:
    platform, _ = landed
    found: dict[tuple[str, str, str], Counter[str]] = {}
    for hospital, delivery, table, rule, count in platform.ask(
        "select hospital_id, delivery_id, table_name, rule_ids, count(*) from control.rejected_record group by 1, 2, 3, 4"
    ):
        found.setdefault((hospital, delivery, table), Counter())[rule] += count
    expected = {}
    for h, d, t, truth in _truths(world):
        damaged = {rule: truth["planted"][trap] for trap, rule in DAMAGE.items() if truth["planted"].get(trap)}
        assert sum(damaged.values()) == truth["unparseable"]
        if truth["rejected"] or damaged:
            expected[h, d, t] = Counter(truth["rejected"]) + Counter(damaged)
    assert found == expected


def test_the_lake_holds_what_the_ledger_says(landed: Any, world: Any) -> None:
    platform, _ = landed
    for table in ("patient", "stay", "administration"):
        rows = platform.in_lake(f"select hospital_id, delivery_id, count(*) from lake.landed.{table} group by all")
        assert {r[:2]: r[2] for r in rows} == {
            (h, d): truth["rows"] - sum(truth["rejected"].values()) - truth["unparseable"]
            for h, d, t, truth in _truths(world)
            if t == table
        }
        assert len(platform.through_spark("landed", table)) == sum(r[2] for r in rows)


def test_great_expectations_counted_what_the_kernel_counted(landed: Any) -> None:
    platform, _ = landed
    rows = platform.ask(
        "select rule_id, rows_failed, rows_failed_gx, status from quality.result where hospital_id = '*'"
    )
    assert len(rows) > 10
    assert {r[0] for r in rows if r[2] is None or r[3] == "error"} == set()


def test_flags_are_the_truths(landed: Any, world: Any) -> None:
    platform, _ = landed
    for table, trap, flag in (
        ("patient", "patient.invalid_nir_key", "patient.national_id.nir"),
        ("administration", "administration.repeated_autumn_hour", "administration.given_at.repeated_hour"),
    ):
        planted = sum(truth["planted"].get(trap, 0) for _, _, t, truth in _truths(world) if t == table)
        assert planted > 0
        assert platform.in_lake(f"select count(*) from lake.landed.{table} where contains(flags, '{flag}')") == [
            (planted,)
        ]


def test_no_name_of_a_person_and_no_local_identifier_is_in_the_lake(landed: Any, world: Any) -> None:
    platform, _ = landed
    ids = platform.in_lake(
        "select patient_id from lake.landed.patient union select patient_id from lake.landed.stay where op <> 'delete'"
    )
    assert all(len(i) == 32 and set(i) <= set("0123456789abcdef") for (i,) in ids)
    source = (world.folder / "landing/h01/2025-10-full/patient.csv").read_text(encoding="utf-8").splitlines()
    local = {line.split(";")[0] for line in source[1:]}
    assert len(local) > 20
    assert not {i for (i,) in ids} & local


def test_a_second_scan_finds_nothing_and_a_second_run_changes_nothing(landed: Any, world: Any) -> None:
    platform, _ = landed
    files, snapshot = platform.lake.list_files("landed", "administration"), platform.lake.snapshot()
    found = platform.discover()
    assert (found.pending, found.blocked, found.changed_after_landing) == ([], [], [])
    assert found.unchanged == _deliveries(world)
    assert platform.land() == {"landed": 0, "blocked": 0, "rows": 0}
    assert platform.lake.list_files("landed", "administration") == files
    assert platform.lake.snapshot() == snapshot


def test_a_blocked_delivery_lands_once_its_manifest_is_corrected(landed: Any, world: Any) -> None:
    """Last of the world's tests: it changes the platform."""
    platform, _ = landed
    key = "landing/h03/2025-12-delta/manifest.json"
    document = json.loads((platform.settings.store_path / key).read_bytes())
    for file in document["files"]:
        data = (platform.settings.store_path / "landing/h03/2025-12-delta" / file["path"]).read_bytes()
        file["sha256"] = hashlib.sha256(data).hexdigest()
    platform.store.put_bytes(key, json.dumps(document).encode())
    assert platform.land()["landed"] == 1
    assert platform.state("2025-12-delta", "h03") == ("landed", None)


# ------------------------------------------------------------------------------------------------ what is refused


def test_each_unreadable_delivery_is_blocked_by_its_own_error_and_the_sound_one_lands(platform: SmallPlatform) -> None:
    # what is not complete is arriving for a while; here its time is over
    platform = platform.but(arriving_minutes=0.0)
    records = {"administration": [dose("A"), dose("B")]}
    platform.deliver("sound", 1, **records)
    platform.deliver("version", 2, change=lambda d: d.update(contract_version="9"), **records)
    platform.deliver("outside", 3, change=lambda d: d["files"][0].update(path="../sound/administration.csv"), **records)
    platform.deliver("form", 4, change=lambda d: d.pop("kind"), **records)
    platform.deliver("twin", 1, **records)
    platform.deliver("size", 5, change=lambda d: d["files"][0].update(bytes=3), **records)
    platform.deliver("absent", 6, change=lambda d: d["files"][0].update(path="other.csv"), **records)
    platform.store.put_bytes("landing/h01/json/manifest.json", b"{ not json")
    platform.store.put_bytes("landing/h01/late/administration.csv", b"still uploading")
    platform.store.put_bytes("landing/h77/d1/manifest.json", b"{}")
    result = platform.land()
    assert result == {"landed": 1, "blocked": 0, "rows": 2}
    codes = {
        (h, d): code for h, d, code in platform.ask("select hospital_id, delivery_id, error_code from control.delivery")
    }
    assert codes == {
        ("h01", "sound"): None, ("h01", "version"): "E_CONTRACT_VERSION", ("h01", "outside"): "E_PATH_OUTSIDE",
        ("h01", "form"): "E_MANIFEST_INVALID", ("h01", "twin"): "E_MANIFEST_INVALID", ("h01", "size"): "E_CHECKSUM",
        ("h01", "absent"): "E_FILE_MISSING", ("h01", "json"): "E_MANIFEST_INVALID", ("h01", "late"): "E_MANIFEST_MISSING",
        ("h77", "d1"): "E_UNKNOWN_HOSPITAL",
    }  # fmt: skip
    for what, remedy in platform.ask("select error_what, error_remedy from control.delivery where state = 'blocked'"):
        assert what
        assert remedy
    # the manifest comes last: with it the delivery is complete
    platform.deliver("late", 7, administration=[dose("C")])
    assert platform.discover().pending == [("h01", "late")]


def test_the_gate_blocks_a_delivery_with_too_many_rejected_records_and_rows_alone(platform: SmallPlatform) -> None:
    platform.deliver("bad", 1, administration=[dose(str(i), "text" if i < 2 else "1") for i in range(100)])
    doses = [dose(str(i), "text" if i < 1 else "1", unit="" if i < 5 else "g") for i in range(100)]
    platform.deliver("edge", 2, administration=doses)
    platform.deliver("header", 3, headers={"stay": "NDA;IPP"}, stay=["1;2"])
    result = platform.land()
    assert (result["landed"], result["blocked"]) == (1, 2)
    assert platform.state("bad") == ("blocked", "E_REJECTED_RATE")
    assert platform.state("header") == ("blocked", "E_COLUMN_MISSING")
    assert platform.state("edge") == ("landed", None)  # exactly 1 %
    verdicts = dict(platform.ask("select delivery_id, verdict from quality.verdict where hospital_id <> '*'"))
    assert verdicts == {"bad": "block", "edge": "warn", "header": "block"}
    assert platform.in_lake("select count(*) from lake.landed.administration") == [(99,)]
    # dose 0 is rejected: of the five without unit four are accepted, and both engines say so
    counts = platform.ask(
        "select hospital_id, rows_failed, rows_failed_gx, status from quality.result "
        "where rule_id = 'administration.dose.with_unit' and delivery_id in ('edge', '*') order by hospital_id"
    )
    assert counts == [("*", 4, 4, "fail"), ("h01", 4, None, "fail")]
    # what was rejected can be looked at, blocked or not
    assert platform.ask(
        "select count(*) from control.rejected_record where delivery_id = 'bad' and state = 'open'"
    ) == [(2,)]


def test_a_record_dated_after_the_extraction_is_set_aside_counted_and_accounted_for(platform: SmallPlatform) -> None:
    """Extracted on 1 November 2025: a dose of 2034 goes to quarantine, one a day ahead does not; both engines count what was accepted."""
    ahead = [
        dose("far").replace("16/03/2025", "16/03/2034"),
        dose("near").replace("16/03/2025 08:00", "01/11/2025 23:00"),
    ]
    platform.deliver("d1", 1, administration=[*ahead, *(dose(str(i)) for i in range(198))])
    assert platform.land()["landed"] == 1
    assert platform.ask("select rule_ids, business_key, columns from control.rejected_record") == [
        ("administration.given_at.future", "far", "given_at")
    ]
    account = "select rows_in::int, rows_out::int, rows_quarantined::int, hash_in = hash_out + hash_quarantined from control.accounting"
    assert platform.ask(account) == [(200, 199, 1, True)]
    counted = "select rows_failed::int, rows_failed_gx::int from quality.result where rule_id = 'administration.given_at.future'"
    assert set(platform.ask(counted + " and hospital_id = 'h01'")) == {(1, None)}
    assert platform.ask(counted + " and hospital_id = '*'") == [(1, 0)]


def test_a_table_whose_every_record_is_rejected_does_not_stop_its_delivery(platform: SmallPlatform) -> None:
    platform.deliver("d1", 1, patient=["77;unknown;f;"], administration=[dose(str(i)) for i in range(200)])
    assert platform.land()["landed"] == 1
    assert platform.in_lake("select count(*) from lake.landed.patient") == [(0,)]
    assert platform.consolidate()["rows"] == 200


def test_the_same_delivery_with_other_bytes_is_refused_and_what_was_landed_stays(platform: SmallPlatform) -> None:
    platform.deliver("d1", 1, administration=[dose("A", "1")])
    platform.land()
    platform.deliver("d1", 1, administration=[dose("A", "2")])
    found = platform.discover()
    assert (found.pending, found.changed_after_landing) == ([], [("h01", "d1")])
    assert platform.state("d1") == ("landed", "E_DELIVERY_CHANGED")
    assert platform.discover().changed_after_landing == []  # said once
    assert platform.land()["landed"] == 0
    assert [float(r[0]) for r in platform.in_lake("select dose from lake.landed.administration")] == [1.0]


def test_the_same_bytes_again_are_a_no_op(platform: SmallPlatform) -> None:
    for _ in range(2):
        platform.deliver("d1", 1, administration=[dose("A", "1")])
        platform.land()
    assert platform.state("d1") == ("landed", None)
    assert platform.in_lake("select count(*) from lake.landed.administration") == [(1,)]


# ------------------------------------------------------------------------------------------------ nothing is lost


DAMAGES = {
    "a row is gone": {"where": "record_number <> 3"},
    "a row's identity is another": {"columns": "* replace (row_uid_hi + (record_number = 3)::int as row_uid_hi)"},
    "its other half is": {"columns": "* replace (row_uid_lo - (record_number = 3)::int as row_uid_lo)"},
}


def test_a_written_file_that_is_not_what_was_read_stops_the_commit(platform: SmallPlatform) -> None:
    platform.deliver("d1", 1, administration=[dose(str(i)) for i in range(10)])
    before = platform.lake.snapshot()
    for damage in DAMAGES.values():

        def spoil(landings: list[Any], damage: dict[str, str] = damage) -> None:
            [landing] = landings
            rewrite(platform.settings.store_path / landing.files[0].output, **damage)

        with pytest.raises(AccountingImbalance) as raised:
            platform.land(before_commit=spoil)
        assert (raised.value.hospital, raised.value.delivery, raised.value.table) == ("h01", "d1", "administration")
        assert platform.lake.snapshot() == before
        assert platform.lake.list_files("landed", "administration") == []
        assert platform.state("d1") == ("received", None)
        assert platform.ask("select count(*) from control.landed_file") == [(0,)]
        assert platform.ask("select count(*) from control.accounting") == [(0,)]
    assert platform.ask("select state from control.stage_run order by token") == [("failed",)] * len(DAMAGES)
    # undamaged, the same delivery lands
    assert platform.land()["landed"] == 1
    assert platform.in_lake("select count(*) from lake.landed.administration") == [(10,)]
