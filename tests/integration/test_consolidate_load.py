"""Consolidate and load: from the lake's landed files to staging, against the simulator's truth, one hospital at a time."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from small_platform import SmallPlatform, dose, rewrite

from estuaire.base.errors import AccountingImbalance, ContractError, ErrorFields
from estuaire.contract.registry import FOLDER, load_registry
from estuaire.contract.tables import load_contract
from estuaire.warehouse.staging_content import antibacterial_codes
from spark_jobs.patient_map import patient_map
from spark_jobs.session import spread_survivors
from spark_jobs.stage import attempt

TABLES = load_contract().names
FIRST = ("2025-10-full", "2025-11-delta")
HOSPITALS = ("h01", "h02", "h03")


@pytest.fixture(scope="module")
def consolidated(
    new_platform: Callable[[], SmallPlatform], world: Any
) -> tuple[SmallPlatform, dict[str, Any], dict[str, Any]]:
    """The first two deliveries of each hospital, landed, consolidated and loaded."""
    platform = new_platform()
    for hospital in HOSPITALS:
        for delivery in FIRST:
            platform.copy_delivery(world.folder, hospital, delivery)
    assert platform.land()["landed"] == 6
    return platform, platform.consolidate(), platform.load()


def _files(platform: SmallPlatform, table: str) -> dict[str, list[str]]:
    """Hospital -> the files that the catalog lists."""
    found: dict[str, list[str]] = {}
    for path in platform.lake.list_files("consolidated", table):
        found.setdefault(path.split("hospital=")[1].split("/")[0], []).append(path)
    return found


def _counts(platform: SmallPlatform, relation: str, condition: str = "true") -> dict[str, int]:
    return dict(platform.in_lake(f"select hospital_id, count(*) from {relation} where {condition} group by 1"))


# ------------------------------------------------------------------------------------------------ against the truth


@pytest.mark.parametrize("table", TABLES)
def test_current_records_are_the_truths(consolidated: Any, world: Any, table: str) -> None:
    platform, result, _ = consolidated
    assert result["hospitals"] == list(HOSPITALS)
    expected = {h: world.delivery(h, FIRST[-1])["tables"][table]["current_after"] for h in HOSPITALS}
    assert _counts(platform, f"lake.consolidated.{table}") == {h: n for h, n in expected.items() if n}
    key = ", ".join(load_contract().table(table).key)
    assert platform.in_lake(
        f"select count(*) - count(distinct (hospital_id, {key})) from lake.consolidated.{table}"
    ) == [(0,)]


AUTUMN = "hour(given_at_local) = 2 and month(given_at_local) = 10 and dayofweek(given_at_local) = 0 and day(given_at_local) > 24"
SEEN = {
    "patient.invalid_nir_key": "contains(flags, 'patient.national_id.nir')",
    "administration.repeated_autumn_hour": "contains(flags, 'administration.given_at.repeated_hour')",
    "administration.autumn_hour_with_offset": f"{AUTUMN} and hour(timezone('UTC', given_at)) = 1 and hospital_id = 'h02'",
    "administration.unmapped_drug": "drug_code is null",
    "administration.unpadded_ucd": "regexp_full_match(drug_code_source, '[1-9][0-9]{6}') and drug_code is not null",
    "administration.label_newline": "contains(drug_label, chr(10))",
    "administration.label_quote": "contains(drug_label, '\"')",
    "administration.label_accents": "regexp_matches(drug_label, '[^ -~\\n\\t]')",
    "isolate.label_mojibake": "contains(organism_label, '¿')",
    "isolate.label_newline": "contains(organism_label, chr(10))",
    "susceptibility.operator_reversed": "trim(operator_source) = '=<' and operator = '<='",
    "susceptibility.category_with_value": "category is null and category_source like '< 0.5 %' and contains(flags, 'susceptibility.category.in_text')",
    "diagnosis.dotted_code": "contains(diagnosis_code_source, '.') and diagnosis_code is not null",
    "administration.label_separator": "contains(drug_label, case hospital_id when 'h01' then ';' when 'h02' then '|' else chr(9) end)",
}


@pytest.mark.parametrize("trap", SEEN)
def test_traps_that_do_not_reject_are_found_in_the_current_records(consolidated: Any, world: Any, trap: str) -> None:
    platform, _, _ = consolidated
    table = trap.split(".")[0]
    expected = {
        h: n for h in HOSPITALS if (n := world.delivery(h, FIRST[-1])["tables"][table]["flagged_after"].get(trap))
    }
    assert expected, "the world has this trap"
    assert _counts(platform, f"lake.consolidated.{table}", SEEN[trap]) == expected


@pytest.mark.parametrize(
    "reference",
    sorted(
        f"{table.name}.{reference.columns[-1]}"
        for table in load_contract().tables
        for reference in table.references
        if reference.table not in (table.name, "unit")
    ),
)
def test_orphans_are_the_truths(consolidated: Any, world: Any, reference: str) -> None:
    platform, _, _ = consolidated
    expected = {h: n for h in HOSPITALS if (n := world.delivery(h, FIRST[-1])["orphans_after"][reference])}
    found = _counts(platform, f"lake.consolidated.{reference.split('.')[0]}", f"contains(flags, '{reference}.orphan')")
    assert found == expected


def test_unmapped_codes_are_kept_and_counted(consolidated: Any, world: Any) -> None:
    platform, _, _ = consolidated
    rows = platform.ask("select hospital_id, code_system, sum(records)::int from control.unmapped_code group by 1, 2")
    found = {(r[0], r[1]): r[2] for r in rows}
    # a category within a text ("< 0.5 S") is read by the models: nobody has to map it
    assert {system for _, system in found} == {"drug", "laboratory_test"}
    planted = {"drug": "administration.unmapped_drug"}
    for system, trap in planted.items():
        flagged = {
            h: world.delivery(h, FIRST[-1])["tables"][trap.split(".")[0]]["flagged_after"].get(trap, 0)
            for h in HOSPITALS
        }
        assert {h: found.get((h, system), 0) for h in HOSPITALS} == flagged
    local = "test_code is null and test_code_source like 'NM%'"
    assert {h: found.get((h, "laboratory_test"), 0) for h in HOSPITALS} == {
        h: _counts(platform, "lake.consolidated.lab_result", local).get(h, 0) for h in HOSPITALS
    }


def test_merges_split_stays_and_draws_are_the_truths(consolidated: Any, world: Any) -> None:
    platform, _, _ = consolidated
    truth = {h: world.delivery(h, FIRST[-1]) for h in HOSPITALS}
    merged = _counts(platform, "lake.consolidated.patient", "merged_into is not null")
    assert merged == {h: n for h in HOSPITALS if (n := truth[h]["merged_after"])}
    continued = _counts(platform, "lake.consolidated.stay", "whole_stay_id <> stay_id")
    assert continued == {h: n for h in HOSPITALS if (n := truth[h]["continued_stays_after"])}
    # two to four bottles a draw of blood, the first of which gives its number
    bottles = platform.in_lake(
        "select min(n), max(n), avg(n) from (select count(*) as n from lake.consolidated.specimen where nature = 'blood' "
        "group by hospital_id, draw_id)"
    )[0]
    assert 1 <= bottles[0] <= bottles[1] <= 4 < 2 * bottles[2]


def test_every_landed_record_is_out_or_superseded(consolidated: Any) -> None:
    platform, result, _ = consolidated
    rows_in, out, superseded, other = platform.ask(
        "select sum(rows_in)::int, sum(rows_out)::int, sum(rows_superseded)::int, sum(rows_quarantined + rows_unparseable)::int "
        "from control.accounting where stage = 'consolidate'"
    )[0]
    [(landed,)] = platform.ask("select sum(rows_out)::int from control.accounting where stage = 'land'")
    assert rows_in == landed == out + superseded
    assert (out, other) == (result["rows"], 0)
    assert superseded > 0


def test_people_are_the_truths(consolidated: Any, world: Any) -> None:
    platform, _, _ = consolidated
    [(local, people)] = platform.in_lake(
        "select count(*), count(distinct patient_key) from lake.consolidated.patient_map"
    )
    [(several,)] = platform.in_lake(
        "select count(*) from (select patient_key from lake.consolidated.patient_map group by 1 having count(distinct hospital_id) > 1)"
    )
    assert {"local_patients": local, "people": people, "people_in_several_hospitals": several} == world.truth[
        "people_after"
    ]["2"]
    assert several > 5


def test_staging_holds_what_the_models_need(consolidated: Any) -> None:
    platform, _, loaded = consolidated
    assert loaded["hospitals"] == list(HOSPITALS)
    for table in TABLES:
        codes = ", ".join(f"'{c}'" for c in antibacterial_codes())
        condition = f"drug_code in ({codes})" if table in ("administration", "prescription") else "true"
        if table == "administration":
            condition += " or drug_code is null"  # it may be an antibacterial's: counted beside every rate
        found = dict(platform.ask(f"select hospital_id, count(*)::int from staging.{table} group by 1"))
        assert found == _counts(platform, f"lake.consolidated.{table}", condition)
    doses = _counts(platform, "lake.consolidated.administration")
    assert sum(doses.values()) > platform.ask("select count(*) from staging.administration")[0][0] > 0
    # of any drug, by day
    assert (
        dict(platform.ask("select hospital_id, sum(records)::int from staging.administration_day group by 1")) == doses
    )
    assert platform.ask("select count(*) from staging.patient_map")[0][0] == _total(platform, "patient_map")
    registered = [(h,) for h in sorted(load_registry(platform.settings.registry_dir).hospitals)]
    assert platform.ask("select hospital_id from staging.hospital order by 1") == registered


def _total(platform: SmallPlatform, table: str) -> int:
    return int(platform.in_lake(f"select count(*) from lake.consolidated.{table}")[0][0])


def test_staging_holds_the_values_of_the_lake(consolidated: Any) -> None:
    platform, _, _ = consolidated
    picked = "stay_id, patient_id, admitted_at_local, discharged_at_local, stay_type, stay_type_source, flags"
    lake = platform.in_lake(f"select {picked} from lake.consolidated.stay order by hospital_id, stay_id")
    assert platform.ask(f'select {picked} from staging.stay order by hospital_id, stay_id collate "C"') == lake
    moments = "extract(epoch from admitted_at)::bigint"
    assert sorted(platform.ask(f"select stay_id, {moments} from staging.stay")) == sorted(
        platform.in_lake("select stay_id, epoch(admitted_at)::bigint from lake.consolidated.stay")
    )


def test_nothing_new_changes_nothing(consolidated: Any) -> None:
    platform, _, _ = consolidated
    before = (
        platform.lake.snapshot(),
        {t: platform.lake.list_files("consolidated", t) for t in (*TABLES, "patient_map")},
    )
    partitions = platform.ask("select inhrelid::regclass::text from pg_inherits order by 1")
    assert platform.consolidate() == {"hospitals": [], "blocked": [], "rows": 0}
    loaded = platform.load()
    assert (loaded["hospitals"], loaded["rows"]) == ([], 0)
    after = platform.lake.snapshot(), {t: platform.lake.list_files("consolidated", t) for t in (*TABLES, "patient_map")}
    assert after == before
    assert platform.ask("select inhrelid::regclass::text from pg_inherits order by 1") == partitions


def test_one_hospitals_new_delivery_rebuilds_that_hospital_only(consolidated: Any, world: Any) -> None:
    """Last on this platform: it adds h01's third delivery."""
    platform, _, _ = consolidated
    before = {t: _files(platform, t) for t in TABLES}
    partitions = set(platform.ask("select inhrelid::regclass::text from pg_inherits"))
    platform.copy_delivery(world.folder, "h01", "2025-12-delta")
    assert platform.land()["landed"] == 1
    assert platform.consolidate()["hospitals"] == ["h01"]
    assert platform.load()["hospitals"] == ["h01"]
    for table in TABLES:
        after = _files(platform, table)
        others = ("h02", "h03")
        assert {h: after.get(h) for h in others} == {h: before[table].get(h) for h in others}
        assert not set(after.get("h01", [])) & set(before[table].get("h01", []))
        expected = world.delivery("h01", "2025-12-delta")["tables"][table]["current_after"]
        assert _counts(platform, f"lake.consolidated.{table}").get("h01", 0) == expected
    kept = partitions & set(platform.ask("select inhrelid::regclass::text from pg_inherits"))
    assert {name.split("_")[-2] for (name,) in kept} == {"h02", "h03"}
    assert len(kept) == sum(len({"h02", "h03"} & set(before[table])) for table in TABLES)
    # the rest of the swap left no table behind
    stray = "select relname from pg_class where relkind = 'r' and relnamespace = 'staging'::regnamespace and not relispartition"
    assert sorted(r[0] for r in platform.ask(stray)) == [
        "administration_day",
        "hospital",
        "hospital_guideline",
        "patient_map",
    ]


# ------------------------------------------------------------------------------------------------ stays and full deliveries

HEADERS = {
    "patient": "IPP;DATE_NAISSANCE;SEXE;DATE_DECES",
    "stay": "NDA;IPP;DATE_ENTREE;DATE_SORTIE;stay_type",
}
NIGHTS = "select sum(ended_at_local::date - admitted_at_local::date)::int from {0}"


def test_no_stay_ends_after_what_was_delivered(consolidated: Any) -> None:
    platform, _, _ = consolidated
    ends = "select count(*)::int, count(ended_at)::int, max(ended_at_local) <= timestamp '2026-01-01' from {0} where discharged_at is null"
    [(stays, told, bounded)] = platform.in_lake(ends.format("lake.consolidated.stay"))
    assert stays == told > 0
    assert bounded
    assert platform.ask(NIGHTS.format("staging.stay")) == platform.in_lake(NIGHTS.format("lake.consolidated.stay"))


def test_a_discharge_typed_2034_a_death_and_a_readmission_end_stays_in_staging(platform: SmallPlatform) -> None:
    """10 stays of 9 nights, one closed in 2034; one dead on 3 January and left open; one never closed, readmitted on 10 February."""
    people = [f"{n};01/02/1955;f;" for n in range(600)]
    people[10] = "10;01/02/1955;f;03/01/2025"
    nine = [f"s{n};{n};01/06/2025 10:00;10/06/{'2034' if n == 9 else '2025'} 09:00;HC" for n in range(10)]
    others = [
        "dead;10;01/01/2025 10:00;;HC",
        "open;11;01/02/2025 10:00;;HC",
        "again;11;10/02/2025 09:00;15/02/2025 10:00;HC",
    ]
    platform.deliver("d1", 1, headers=HEADERS, patient=people, stay=[*nine, *others])
    assert platform.land()["landed"] == 1
    platform.consolidate()
    platform.load()
    june = " where admitted_at_local >= date '2025-06-01'"
    assert platform.ask(NIGHTS.format("staging.stay") + june) == [(81,)]
    before = " where admitted_at_local < date '2025-06-01' group by admitted_at_local order by admitted_at_local"
    assert platform.ask(NIGHTS.format("staging.stay") + before) == [(2,), (9,), (5,)]


def test_a_delivery_that_tells_of_a_later_time_prolongs_open_stays(platform: SmallPlatform) -> None:
    def until(day: str) -> Callable[[dict[str, Any]], object]:
        return lambda document: document["period"].update(to=day)

    platform.deliver("d1", 1, headers=HEADERS, change=until("2025-07-01"), stay=["open;1;01/06/2025 10:00;;HC"])
    platform.land()
    assert platform.consolidate()["hospitals"] == ["h01"]
    assert platform.in_lake(NIGHTS.format("lake.consolidated.stay")) == [(30,)]
    other = ["closed;2;01/07/2025 10:00;05/07/2025 10:00;HC"]
    platform.deliver("d2", 2, headers=HEADERS, change=until("2025-08-01"), stay=other)
    platform.land()
    platform.consolidate()
    assert platform.in_lake(NIGHTS.format("lake.consolidated.stay")) == [(61 + 4,)]


# ------------------------------------------------------------------------------------------------ what must stop it


def test_a_consolidated_file_that_lost_a_row_stops_the_commit(platform: SmallPlatform) -> None:
    platform.deliver("d1", 1, administration=[dose("A"), dose("B"), dose("C")])
    platform.land()
    before = platform.lake.snapshot()

    def spoil(results: dict[str, list[dict[str, Any]]]) -> None:
        [outcome] = results["h01"]
        rewrite(platform.settings.store_path / outcome["output"], where="administration_id <> 'B'")

    with pytest.raises(AccountingImbalance) as raised:
        platform.consolidate(before_commit=spoil)
    assert (raised.value.hospital, raised.value.delivery) == ("h01", "d1")
    assert platform.lake.snapshot() == before
    assert platform.ask("select count(*) from control.consolidation") == [(0,)]
    assert platform.consolidate()["rows"] == 3


def test_a_crash_after_the_lakes_commit_is_recovered_and_a_replaced_partition_has_its_new_rows_only(
    platform: SmallPlatform,
) -> None:
    platform.deliver("d1", 1, administration=[dose("A", "1"), dose("B", "1"), dose("C", "1")])
    platform.land()
    platform.consolidate()
    platform.deliver(
        "d2", 2, headers={"administration": "administration_id;IPP;NDA;drug_code;dose;dose_unit;route;given_at;status;op"},
        administration=[dose("A", "2") + ";upsert", "B;;;;;;;;;delete"],
    )  # fmt: skip
    platform.land()
    platform.consolidate()
    snapshot = platform.lake.snapshot()
    # the ledger as it stood when the process ended between the lake's commit and its own last transaction
    platform.execute(
        "update control.stage_run set state = 'running', snapshot_id = null where stage = 'consolidate' and token = "
        "(select token from control.fence where stage = 'consolidate')"
    )
    platform.execute("update control.consolidation set input_hash = 'old', content_hash = 'old'")
    assert platform.consolidate() == {"hospitals": [], "blocked": [], "rows": 0}
    assert platform.lake.snapshot() == snapshot
    rows = platform.through_spark("consolidated", "administration")
    assert sorted((r["administration_id"], float(r["dose"])) for r in rows) == [("A", 2.0), ("C", 1.0)]


def test_a_wrong_code_map_holds_back_its_own_hospital_only(
    new_platform: Callable[[], SmallPlatform], world: Any, tmp_path: Path
) -> None:
    own = tmp_path / "registry"
    for name in ("hospitals", "code_maps"):
        shutil.copytree(FOLDER / name, own / name)
    wrong = own / "code_maps" / "h01" / "organism.csv"
    right = wrong.read_text(encoding="utf-8")
    platform = new_platform()
    platform = platform.but(registry_dir=own)
    for hospital in ("h01", "h02"):
        platform.copy_delivery(world.folder, hospital, FIRST[0])
    assert platform.land()["landed"] == 2
    wrong.write_text(right + "KPN,B_KLBSL_PNMX,a,2026-01-01\n", encoding="utf-8")
    result = platform.consolidate()
    assert (result["hospitals"], result["blocked"]) == (["h02"], ["h01"])
    assert result["rows"] > 0
    [error] = platform.errors("control.consolidation_block", "hospital_id = 'h01'")
    assert error.sentence().startswith("[E_CONTRACT] code map h01/organism.csv line ")
    assert "B_KLBSL_PNMX" in error.what
    assert platform.ask(
        "select verdict, reasons from quality.verdict where stage = 'consolidated' and hospital_id = 'h01'"
    ) == [("block", "")]
    assert platform.errors("quality.verdict", "stage = 'consolidated' and hospital_id = 'h01'") == [error]
    assert platform.consolidate() == {"hospitals": [], "blocked": [], "rows": 0}
    assert platform.load()["hospitals"] == ["h02"]
    wrong.write_text(right, encoding="utf-8")
    result = platform.consolidate()
    assert (result["hospitals"], result["blocked"]) == (["h01"], [])
    assert platform.ask("select count(*) from control.consolidation_block") == [(0,)]


def test_an_error_of_ours_in_a_spark_task_ends_the_stage_as_itself(platform: SmallPlatform) -> None:
    def work(_: int) -> int:
        raise ContractError("this map is wrong", remedy="correct it", hospital="h01")

    run_id = platform.new_run()
    with pytest.raises(ContractError, match="this map is wrong"):
        attempt(platform, run_id, "consolidate", lambda *_: spread_survivors(platform.spark, [(1, 0)], work))
    [(state, retryable, message)] = platform.ask(
        "select state, retryable, message from control.stage_run where run_id = %s", run_id
    )
    assert (state, retryable) == ("failed", False)
    assert message is None
    assert platform.errors("control.stage_run", f"run_id = '{run_id}'") == [
        ErrorFields("E_CONTRACT", "this map is wrong", "correct it", "h01")
    ]


# ------------------------------------------------------------------------------------------------ the patient map

PEOPLE = (
    "hospital_id varchar, patient_id varchar, sex varchar, birth_date date, national_id varchar, upstream_pseudonym varchar, "
    "merged_into varchar"
)


def _map(rows: list[tuple[Any, ...]]) -> list[tuple[str, str, str, str]]:
    with duckdb.connect() as connection:
        connection.execute(f"create table people ({PEOPLE})")
        connection.executemany("insert into people values (?, ?, ?, ?, ?, ?, ?)", rows)
        found = patient_map(connection, "people").fetchall()
    assert [(r[0], r[1]) for r in found] == sorted((r[0], r[1]) for r in rows)
    return found


def _mapped(*rows: str) -> dict[str, tuple[str, str]]:
    """``hospital patient sex birth national upstream [merged into]`` per row, ``-`` for nothing -> patient -> (key, method)."""
    from datetime import date

    parsed = []
    for row in rows:
        hospital, patient, sex, birth, national, upstream, *into = (None if v == "-" else v for v in row.split())
        day = date.fromisoformat(birth) if birth else None
        parsed.append((hospital, patient, sex, day, national, upstream, into[0] if into else None))
    return {patient: (key, method) for _, patient, key, method in _map(parsed)}


def test_the_same_national_identifier_or_upstream_pseudonym_is_one_person() -> None:
    found = _mapped(
        "h01 a female 1955-02-01 N1 -",
        "h02 b female 1955-02-01 N1 -",
        "h02 c male 1960-01-01 - U1",
        "h03 d male 1960-12-31 - U1",
        "h01 e male 1960-01-01 - -",
        "h03 f male 1960-01-01 N9 -",
    )
    assert found["a"] == found["b"]
    assert found["c"] == found["d"]
    assert len({found[p][0] for p in "acef"}) == 4
    assert [found[p][1] for p in "acef"] == ["national_id", "upstream_pseudonym", "none", "none"]


@pytest.mark.parametrize(
    "other", ["male 1955-02-01", "female 1956-02-01"], ids=["another sex", "another year of birth"]
)
def test_a_link_in_conflict_is_not_made(other: str) -> None:
    found = _mapped("h01 a female 1955-02-01 N1 -", f"h02 b {other} N1 -", "h03 c female 1955-02-01 N1 -")
    assert len({key for key, _ in found.values()}) == 3
    assert {method for _, method in found.values()} == {"conflict"}


def test_a_missing_sex_or_another_day_of_the_same_year_is_no_conflict() -> None:
    found = _mapped("h01 a female 1955-02-01 N1 -", "h02 b - 1955-01-01 N1 -")
    assert found["a"] == found["b"]


def test_links_chain_through_people_known_by_both() -> None:
    chain = [f"h0{i % 3 + 1} p{i} female 1955-02-01 N{i // 2} U{(i + 1) // 2}" for i in range(7)]
    forwards, backwards = _mapped(*chain), _mapped(*reversed(chain))
    assert len({key for key, _ in forwards.values()}) == 1
    assert forwards == backwards


def test_the_same_local_number_in_two_hospitals_is_two_people() -> None:
    rows = [("h01", "7", *[None] * 5), ("h02", "7", *[None] * 5)]
    assert len({key for _, _, key, _ in _map(rows)}) == 2


def test_merged_local_ids_are_one_person_and_share_what_identifies_them() -> None:
    found = _mapped(
        "h01 old female 1955-02-01 N1 - kept",
        "h01 kept male 1956-01-01 - -",
        "h02 elsewhere female 1955-02-01 N1 -",
        "h02 kept2 male 1956-01-01 - -",
        "h03 former - - - - alone",
        "h03 alone - - - -",
    )
    assert found["old"][0] == found["kept"][0] == found["elsewhere"][0]
    assert found["former"][0] == found["alone"][0] != found["kept2"][0]
    assert found["alone"][1] == "merge"


def test_persons_are_the_components_of_a_graph_that_is_walked_node_by_node() -> None:
    """Random worlds with long chains and conflicts, against a plain union-find."""
    from datetime import date

    for seed in range(5):
        rng = random.Random(seed)  # noqa: S311
        rows: list[tuple[Any, ...]] = []
        for i in range(400):
            sex = rng.choices(["female", None, "male"], [0.9, 0.07, 0.03])[0]
            national, upstream = (f"{name}{rng.randrange(300)}" if rng.random() < 0.7 else None for name in "NU")
            hospital = f"h0{rng.randrange(3)}"
            into = f"p{rng.randrange(400)}" if rng.random() < 0.05 else None
            rows.append((hospital, f"p{i}", sex, date(1955, 2, 1), national, upstream, into))
        rng.shuffle(rows)
        claims: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
        parent = {(r[0], r[1]): (r[0], r[1]) for r in rows}

        def root(node: tuple[str, str], parent: dict[tuple[str, str], tuple[str, str]] = parent) -> tuple[str, str]:
            while parent[node] != node:
                node = parent[node]
            return node

        for row in rows:
            for kind, value in (("national", row[4]), ("upstream", row[5])):
                if value:
                    claims.setdefault((kind, value), []).append(row)
            if row[6]:
                kept = [r for r in rows if (r[0], r[1]) == (row[0], row[6]) and r[6] is None]
                claims.setdefault(("merge", row[0], row[6]), []).extend([row, *kept])
        for (kind, *_), members in claims.items():
            if kind == "merge" or len({r[2] for r in members if r[2]}) <= 1:
                for row in members[1:]:
                    parent[root((row[0], row[1]))] = root((members[0][0], members[0][1]))
        found = {(h, p): key for h, p, key, _ in _map(rows)}
        pairs = Counter((root(node), key) for node, key in found.items())
        assert len(pairs) == len({r for r, _ in pairs}) == len({k for _, k in pairs})
        assert max(Counter(root(node) for node in found).values()) > 8
