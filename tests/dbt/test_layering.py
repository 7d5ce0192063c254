"""Layering is policy: these checks read what dbt compiled, and first make sure that there was something to read."""

from __future__ import annotations

import csv
import json
import re
from typing import Any

import pytest
import sqlglot
import yaml
from psycopg2.extensions import connection

from estuaire.base.settings import Settings
from estuaire.rules.rule_registry import load_rules
from estuaire.warehouse import dbt_build, dbt_sources, patient_level

LAYERS = {"staging", "conformed", "marts"}


@pytest.fixture(scope="module")
def manifest(warehouse: connection, warehouse_settings: Settings) -> dict[str, Any]:
    """dbt's manifest with compiled SQL."""
    dbt_build.run(warehouse_settings, ["compile"], log=warehouse_settings.logs / "compile.log")
    text = (warehouse_settings.root / "dbt" / "target" / "manifest.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.fixture(scope="module")
def models(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {n["name"]: n for n in manifest["nodes"].values() if n["resource_type"] == "model"}


def layer(model: dict[str, Any]) -> str:
    return str(model["fqn"][1])


def test_every_model_file_was_found(models: dict[str, dict[str, Any]]) -> None:
    files = {p.stem for p in (dbt_build.PROJECT / "models").rglob("*.sql")}
    assert files
    assert set(models) == files
    assert {layer(m) for m in models.values()} == LAYERS
    assert {"patient", "stay", "patient_day", "antibiotic_day", "antibiotic_consumption", "coverage"} <= files


def test_each_layer_reads_the_one_below(models: dict[str, dict[str, Any]]) -> None:
    for name, model in models.items():
        for parent in model["depends_on"]["nodes"]:
            kind, _, upstream = parent.split(".")[:3]
            if layer(model) == "staging":
                assert kind == "source", f"{name} reads {parent}"
            else:
                assert kind in ("model", "seed"), f"{name} reads {parent}"
            if kind == "model":
                allowed = {"conformed": {"staging", "conformed"}, "marts": {"conformed", "marts"}}[layer(model)]
                assert layer(models[upstream]) in allowed, f"{name} reads {upstream}"


def test_only_staging_reads_sources_and_nothing_names_a_schema(models: dict[str, dict[str, Any]]) -> None:
    for name, model in models.items():
        code = re.sub(r"\{\{.*?\}\}|--[^\n]*", "", model["raw_code"])
        assert not re.search(r"\b(staging|conformed|marts|control)\w*\.", code), f"{name} names a schema"


def test_every_model_has_a_tested_primary_key(manifest: dict[str, Any], models: dict[str, dict[str, Any]]) -> None:
    tests: dict[str, set[tuple[str, str | None]]] = {}
    for node in manifest["nodes"].values():
        if node["resource_type"] == "test" and node.get("attached_node"):
            name = node["attached_node"].split(".")[-1]
            tests.setdefault(name, set()).add((node["test_metadata"]["name"], node["column_name"]))
    for name in models:
        own = tests.get(name, set())
        single = {c for t, c in own if t == "unique"} & {c for t, c in own if t == "not_null"}
        assert single or any(t == "unique_combination" for t, _ in own), f"{name} has no tested primary key"


def test_what_the_gates_count_is_tagged_so_that_a_publish_does_not_count_it_again(manifest: dict[str, Any]) -> None:
    counted = {
        (model, frozenset(rule.unique))
        for stage in ("conformed", "marts")
        for model, rules in load_rules(stage).items()
        for rule in rules
        if rule.unique
        and rule.action == "fail"
        and not rule.threshold
        and not rule.min_rows
        and rule.confidence is None
    }
    keys = {
        (
            test["attached_node"].split(".")[-1],
            frozenset(test["test_metadata"]["kwargs"].get("columns") or [test["column_name"]]),
        ): test
        for test in manifest["nodes"].values()
        if test["resource_type"] == "test" and test.get("attached_node")
        if test["test_metadata"]["name"] in ("unique", "unique_combination")
    }
    assert len(counted & keys.keys()) > 15
    assert {key for key, test in keys.items() if "gate" in test["tags"]} == counted & keys.keys()
    others = [t["name"] for t in manifest["nodes"].values() if "gate" in t.get("tags", ()) and t not in keys.values()]
    assert others == [], "no rule of a gate counts these"


def test_every_description_begins_with_the_grain(manifest: dict[str, Any]) -> None:
    nodes = [n for n in manifest["nodes"].values() if n["resource_type"] in ("model", "seed")]
    nodes += manifest["sources"].values()
    assert len(nodes) > 15
    for node in nodes:
        assert re.match(r"Grain: one row\b", node["description"]), node["name"]
        for column in node["columns"].values():
            assert column["description"], f"{node['name']}.{column['name']}"


def test_contracts_are_enforced(models: dict[str, dict[str, Any]]) -> None:
    for name, model in models.items():
        assert model["config"]["contract"]["enforced"], name
        assert model["config"]["persist_docs"] == {"relation": True, "columns": True}, name


def test_no_model_selects_everything(models: dict[str, dict[str, Any]]) -> None:
    for name, model in models.items():
        tree = sqlglot.parse_one(model["compiled_code"], dialect="postgres")
        for star in tree.find_all(sqlglot.exp.Star):
            source = star.parent.args.get("from_") if isinstance(star.parent, sqlglot.exp.Select) else None
            if source is not None and isinstance(source.this, sqlglot.exp.Values):
                continue  # how sqlglot reads a bare VALUES: nobody wrote the star
            assert isinstance(star.parent, sqlglot.exp.Count), f"{name} selects *"


def test_sql_and_yaml_name_the_same_columns(models: dict[str, dict[str, Any]]) -> None:
    for name, model in models.items():
        tree = sqlglot.parse_one(model["compiled_code"], dialect="postgres")
        assert set(tree.named_selects) == set(model["columns"]), name
        assert all(c["data_type"] for c in model["columns"].values()), name


def test_published_tables_carry_their_release(models: dict[str, dict[str, Any]]) -> None:
    for name, model in models.items():
        if layer(model) == "marts":
            assert {"release_id", "lake_snapshot", "built_at", "code_version"} <= set(model["columns"]), name


def undeclared(models: dict[str, dict[str, Any]]) -> list[str]:
    """Marts with a patient key that do not say ``meta: {patient_level: true}``."""
    said = patient_level.declared(models)
    return [n for n, m in models.items() if layer(m) == "marts" and patient_level.KEY in m["columns"] and n not in said]


def test_a_mart_with_a_patient_key_says_so(models: dict[str, dict[str, Any]]) -> None:
    assert undeclared(models) == []
    marts = {n for n, m in models.items() if layer(m) == "marts"}
    assert patient_level.declared({n: models[n] for n in marts}) == patient_level.declared_marts() <= marts
    silent = {"fqn": ["estuaire", "marts"], "columns": {patient_level.KEY: {}}, "config": {"meta": {}}}
    spoken = {**silent, "config": {"meta": {"patient_level": True}}}
    assert undeclared({"silent": silent, "spoken": spoken}) == ["silent"]


def test_the_sources_file_is_the_contract() -> None:
    assert dbt_sources.SOURCES_FILE.read_text(encoding="utf-8") == dbt_sources.render(), (
        "run `python -m estuaire.warehouse.dbt_sources`"
    )


def test_the_seed_is_whole() -> None:
    folder = dbt_build.PROJECT / "seeds" / "reference"
    with (folder / "antimicrobial.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    documented = yaml.safe_load((folder / "_reference.yml").read_text(encoding="utf-8"))["seeds"][0]["columns"]
    assert [c["name"] for c in documented] == list(rows[0])
    codes = {r["atc"]: r for r in rows}
    assert len(codes) == len(rows) > 250
    assert {r["source"] != "" for r in rows} == {True}
    for atc, row in codes.items():
        spares = atc.startswith(("J01", "P01AB")) or atc in ("J04AB02", "A07AA12")
        assert (row["in_spares"] == "true", row["in_esac"] == "true") == (spares, atc.startswith("J01")), atc
        for route in ("oral", "parenteral"):
            assert bool(row[f"{route}_ddd"]) == bool(row[f"{route}_ddd_unit"]), atc
            assert row[f"{route}_ddd_unit"] in ("", "g", "mg", "[MIU]", "{unit_dose}"), atc
            assert row[f"aware_{route}"] in ("", "Access", "Watch", "Reserve"), atc


@pytest.mark.parametrize(  # docs/domain/consumption.md: the DDD used in its worked courses
    ("atc", "route", "ddd", "unit"),
    [
        ("J01DD04", "parenteral", 2.0, "g"),
        ("J01XD01", "parenteral", 1.5, "g"),
        ("P01AB01", "oral", 2.0, "g"),
        ("J01CR02", "oral", 1.5, "g"),
        ("J01CR02", "parenteral", 3.0, "g"),
        ("J01CR05", "parenteral", 14.0, "g"),
        ("J01EE01", "oral", 4.0, "{unit_dose}"),
        ("J01XB01", "parenteral", 9.0, "[MIU]"),
        ("J01CE01", "parenteral", 3.6, "g"),
    ],
)
def test_defined_daily_doses_of_the_worked_courses(atc: str, route: str, ddd: float, unit: str) -> None:
    path = dbt_build.PROJECT / "seeds" / "reference" / "antimicrobial.csv"
    with path.open(encoding="utf-8", newline="") as file:
        row = next(r for r in csv.DictReader(file) if r["atc"] == atc)
    assert (float(row[f"{route}_ddd"]), row[f"{route}_ddd_unit"]) == (ddd, unit)


def test_dbt_unit_tests_pass(warehouse: connection, warehouse_settings: Settings) -> None:
    """The models' own unit tests, with the vectors of docs/domain/; a build excludes them, so they run here."""
    nodes = dbt_build.run(
        warehouse_settings, ["build", "--exclude-resource-type=test"], log=warehouse_settings.logs / "unit_tests.log"
    )
    passed = {n.name for n in nodes if n.kind == "unit_test"}
    assert len(passed) >= 18, passed
    assert {n.status for n in nodes if n.kind == "unit_test"} == {"pass"}
