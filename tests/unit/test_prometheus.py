"""Rules, routes and dashboards as code: each rule says what to do, has a page and a test of promtool's (run in tests/integration)."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from monitors import CONFIGURATION, monitors

from estuaire.base.settings import PROJECT_ROOT
from estuaire.operations.alerts.conditions import SEVERITIES
from estuaire.operations.metrics.catalogue import METRICS

__all__ = ["monitors"]

RULES_FILE = CONFIGURATION / "rules" / "estuaire.yml"
PAGE = PROJECT_ROOT / "docs" / "engineers" / "monitor.md"
GRAFANA = PROJECT_ROOT / "infra" / "grafana"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]
NAMES = [rule["alert"] for rule in RULES]
OURS = re.compile(r"\bestuaire_[a-z0-9_]+")


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def test_there_are_rules_and_each_name_is_used_once() -> None:
    assert len(NAMES) > 25
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_rule_says_what_it_is_what_to_do_and_where_to_read_on(rule: dict[str, Any]) -> None:
    said = rule["annotations"]
    assert set(said) == {"summary", "description", "remedy", "page"}
    assert all(text.strip() for text in said.values())
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["labels"]["kind"] in ("platform", "left")
    page, _, anchor = said["page"].partition("#")
    assert anchor == rule["alert"].lower()
    assert anchor in _anchors(PROJECT_ROOT / page)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_rule_asks_for_metrics_that_there_are(rule: dict[str, Any]) -> None:
    asked = set(OURS.findall(rule["expr"]))
    assert asked <= set(METRICS)
    assert asked or "up{" in rule["expr"]


def test_what_was_told_before_and_left_names_the_platforms_own_alert() -> None:
    left = {r["alert"]: r["annotations"]["description"] for r in RULES if r["labels"]["kind"] == "left"}
    named = {name: re.findall(r"\((\w+_\w+)\)", text) for name, text in left.items()}
    assert all(found and set(found) <= set(SEVERITIES) for found in named.values()), named


# ------------------------------------------------------------------------------------------------ promtool, amtool


def _tests() -> list[dict[str, Any]]:
    files = sorted((CONFIGURATION / "tests").glob("*.yml"))
    return [test for file in files for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]]


def test_every_rule_is_shown_to_fire_and_not_to_fire() -> None:
    fires, quiet = set(), set()
    for test in _tests():
        for one in test["promql_expr_test"]:
            [rule] = re.findall(r'ALERTS\{alertname="(\w+)",alertstate="firing"\}', one["expr"])
            assert rule == test["name"]
            (fires if one["exp_samples"] else quiet).add(rule)
    assert fires == quiet == set(NAMES)


def test_an_inhibited_rule_and_what_inhibits_it_are_rules() -> None:
    document = yaml.safe_load((CONFIGURATION / "alertmanager.yml").read_text(encoding="utf-8"))
    matchers = [m for rule in document["inhibit_rules"] for m in rule["source_matchers"] + rule["target_matchers"]]
    named = {name for m in matchers for name in re.findall(r'"(.+)"', m)[0].split("|")}
    assert named <= set(NAMES)
    assert len(named) > 5


# ------------------------------------------------------------------------------------------------ dashboards, documentation


def _writer() -> Any:
    spec = importlib.util.spec_from_file_location("write_dashboards", GRAFANA / "write_dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_dashboards_are_what_panels_yml_says() -> None:
    writer = _writer()
    there = {p.stem: p.read_text(encoding="utf-8") for p in (GRAFANA / "dashboards").glob("*.json")}
    assert there == {name: writer.written(document) for name, document in writer.documents().items()}


@pytest.mark.parametrize("name", ["data", "platform"])
def test_a_dashboards_panels_do_not_overlap_and_ask_for_metrics_that_there_are(name: str) -> None:
    panels = json.loads((GRAFANA / "dashboards" / f"{name}.json").read_text(encoding="utf-8"))["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        plain = re.sub(r'__name__=~"[^"]*"', "", panel["targets"][0]["expr"])
        assert set(OURS.findall(plain)) <= set(METRICS), panel["title"]


def test_the_page_tells_every_metric_and_nothing_else() -> None:
    told = {
        name: (labels.replace("`", "").split(", ") if labels.strip() else [])
        for name, labels in re.findall(
            r"^\| `(estuaire_\w+)` \| ([^|]*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    assert told == {name: list(metric.labels) for name, metric in METRICS.items()}


def test_every_secret_of_the_parts_is_drawn(tmp_path: Path) -> None:
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "ESTUAIRE_UID": str(os.getuid())}
    folder = tmp_path / "secrets"
    subprocess.run(
        [str(PROJECT_ROOT / "infra/compose/secrets.sh"), str(folder)], env=environment, check=True, capture_output=True
    )
    files = [PROJECT_ROOT / "docker-compose.yml", PROJECT_ROOT / "infra/compose/alerts.yml"]
    document, alerts = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in files)
    named = {*document["secrets"], *alerts["secrets"]}
    wanted = named - {"ca_bundle"}
    given = {
        "operator_smtp_password",
        "operator_webhook_url",
        "alert_smtp_password",
    }  # an operator's own files, or none
    assert {p.name for p in folder.iterdir()} == wanted - given
    for service in ("metrics", "prometheus", "alertmanager", "grafana"):
        names = {s if isinstance(s, str) else s["source"] for s in document["services"][service]["secrets"]}
        assert names <= wanted
    assert len((folder / "metrics_token").read_text(encoding="utf-8").strip()) == 64
