"""Rules, routes and dashboards as code: each rule says what to do, has a page, and is shown to fire and not to fire by promtool."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from alert_servers import hook_server, mail_server
from monitors import CONFIGURATION, Programs, hurried, monitors, served, until

from estuaire.metrics.catalogue import METRICS
from estuaire.settings import PROJECT_ROOT

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
    kinds = yaml.safe_load((PROJECT_ROOT / "estuaire" / "alerts" / "texts.yml").read_text(encoding="utf-8"))
    left = {r["alert"]: r["annotations"]["description"] for r in RULES if r["labels"]["kind"] == "left"}
    named = {name: re.findall(r"\((\w+_\w+)\)", text) for name, text in left.items()}
    assert all(found and set(found) <= set(kinds) for found in named.values()), named


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


def test_promtool_agrees(monitors: Programs) -> None:
    done = monitors.run("promtool", "check", "rules", str(RULES_FILE))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULES)} rules found" in done.stdout
    done = monitors.run("promtool", "test", "rules", *(str(p) for p in sorted((CONFIGURATION / "tests").glob("*.yml"))))
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_fails_where_a_rule_does_not_fire(monitors: Programs, tmp_path: Path) -> None:
    """The check above can fail: a rule that is spoilt is noticed."""
    for name in ("rules/estuaire.yml", "tests/minutes.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        text = (
            (CONFIGURATION / name)
            .read_text(encoding="utf-8")
            .replace("estuaire_store_up == 0", "estuaire_store_up == 2")
        )
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = monitors.run("promtool", "test", "rules", "tests/minutes.yml", cwd=tmp_path)
    assert done.returncode != 0
    assert "StoreDown" in done.stdout + done.stderr


def _with_secrets(file: Path, secrets: Path, to: Path) -> Path:
    to.write_text(file.read_text(encoding="utf-8").replace("/run/secrets", str(secrets)), encoding="utf-8")
    return to


def test_prometheus_takes_its_configuration(monitors: Programs, tmp_path: Path) -> None:
    for name in ("metrics_token", "prometheus_password"):
        (tmp_path / name).write_text("x" * 64, encoding="utf-8")
    (tmp_path / "rules").symlink_to(CONFIGURATION / "rules")
    made = _with_secrets(CONFIGURATION / "prometheus.yml", tmp_path, tmp_path / "prometheus.yml")
    done = monitors.run("promtool", "check", "config", str(made))
    assert done.returncode == 0, done.stdout + done.stderr


def _written_by_monitor(monitors: Programs, tmp_path: Path, **environment: str) -> tuple[Path, str]:
    """Alertmanager's configuration as its container writes it, with a program in its place that only tells its arguments."""
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    fake = programs / "prometheus-alertmanager"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    fake.chmod(0o700)
    (tmp_path / "prometheus_password").write_text("p" * 24 + "\n", encoding="utf-8")
    given = monitors.environment
    given |= {
        "PATH": f"{programs}:{given['PATH']}",
        "CONFIG": str(CONFIGURATION),
        "SECRETS": str(tmp_path),
        "RUN": str(tmp_path),
    }
    done = subprocess.run(
        [str(PROJECT_ROOT / "infra/images/monitor"), "alertmanager"], env=given | environment, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return tmp_path / "alertmanager.yml", done.stdout


def test_alertmanager_takes_its_configuration_and_no_secret_is_an_argument(monitors: Programs, tmp_path: Path) -> None:
    (tmp_path / "operator_webhook_url").write_text("https://chat.example/hook/s3cret\n", encoding="utf-8")
    (tmp_path / "operator_smtp_password").write_text("mail-password\n", encoding="utf-8")
    file, arguments = _written_by_monitor(
        monitors, tmp_path, ESTUAIRE_OPERATOR_SMTP="mail.example:587", ESTUAIRE_OPERATOR_FROM="estuaire@example.org",
        ESTUAIRE_OPERATOR_TO="operator@example.org", ESTUAIRE_OPERATOR_USER="estuaire",
    )  # fmt: skip
    done = monitors.run("amtool", "check-config", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    [receiver] = yaml.safe_load(file.read_text(encoding="utf-8"))["receivers"]
    assert receiver["webhook_configs"][0]["url"] == "https://chat.example/hook/s3cret"
    assert receiver["email_configs"][0]["auth_password_file"] == str(tmp_path / "operator_smtp_password")
    assert "mail-password" not in file.read_text(encoding="utf-8")
    assert "s3cret" not in arguments
    assert file.stat().st_mode & 0o077 == 0
    hashed = yaml.safe_load((tmp_path / "web.yml").read_text(encoding="utf-8"))["basic_auth_users"]["estuaire"]
    assert hashed.startswith("$2y$10$")


def test_without_a_way_to_the_operator_alertmanager_still_starts(monitors: Programs, tmp_path: Path) -> None:
    file, _ = _written_by_monitor(monitors, tmp_path)
    assert monitors.run("amtool", "check-config", str(file)).returncode == 0
    assert yaml.safe_load(file.read_text(encoding="utf-8"))["receivers"] == [{"name": "operator"}]


@pytest.mark.parametrize("severity", ["critical", "warning"])
def test_every_alert_goes_to_the_operator(monitors: Programs, severity: str) -> None:
    file = CONFIGURATION / "alertmanager.yml"
    routes = monitors.run("amtool", "config", "routes", "test", f"--config.file={file}", f"severity={severity}")
    assert routes.stdout.split() == ["operator"], routes.stderr


def test_an_inhibited_rule_and_what_inhibits_it_are_rules() -> None:
    document = yaml.safe_load((CONFIGURATION / "alertmanager.yml").read_text(encoding="utf-8"))
    matchers = [m for rule in document["inhibit_rules"] for m in rule["source_matchers"] + rule["target_matchers"]]
    named = {name for m in matchers for name in re.findall(r'"(.+)"', m)[0].split("|")}
    assert named <= set(NAMES)
    assert len(named) > 5


def test_a_page_that_is_away_reaches_the_operator(
    monitors: Programs, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """A real Prometheus, a real Alertmanager, a mail server and a webhook; nothing answers in the exporter's place."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in ("metrics_token", "prometheus_password"):
        (secrets / name).write_text("correct-horse-battery-staple\n", encoding="utf-8")
    ports = {"metrics:9187": free_port(), "localhost:9090": free_port(), "alertmanager:9093": free_port()}
    hurried(tmp_path / "conf", ports, secrets)
    with mail_server(free_port()) as box, hook_server() as hook:
        (secrets / "operator_webhook_url").write_text(hook.url + "\n", encoding="utf-8")
        given = {
            "ESTUAIRE_OPERATOR_SMTP": f"127.0.0.1:{box.port}", "ESTUAIRE_OPERATOR_FROM": "estuaire@example.org",
            "ESTUAIRE_OPERATOR_TO": "operator@example.org", "ESTUAIRE_OPERATOR_TLS": "false",
        }  # fmt: skip
        where = {"configuration": tmp_path / "conf", "secrets": secrets}
        with (
            served(
                monitors, "alertmanager", tmp_path / "a", ports["alertmanager:9093"], **where, **given
            ) as alertmanager,
            served(monitors, "prometheus", tmp_path / "p", ports["localhost:9090"], **where) as prometheus,
        ):
            until(lambda: box.letters and hook.got, 90, "nobody was told")
            rules = [r for g in prometheus.get("/api/v1/rules")["groups"] for r in g["rules"]]
            assert {r["name"] for r in rules if r["alerts"]} == {"ExporterDown"}
            assert {r["health"] for r in rules} == {"ok"}
            for page in (prometheus, alertmanager):
                for path in ("/", "/api/v1/alerts", "/api/v2/alerts", "/metrics", "/-/healthy"):
                    for auth in (None, ("estuaire", "wrong"), ("admin", page.password)):
                        assert httpx2.get(f"{page.url}{path}", auth=auth, trust_env=False).status_code == 401, path
    # absent before the first scrape, then down: one message of one rule
    alert = json.loads(hook.got[0][2])["alerts"][0]
    assert alert["labels"]["alertname"] == "ExporterDown"
    assert "metrics_token" in alert["annotations"]["remedy"]
    assert "ExporterDown" in str(box.letters[0]["Subject"])
    assert box.recipients[0] == ["operator@example.org"]


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
    document = yaml.safe_load((PROJECT_ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    wanted = set(document["secrets"]) - {"ca_bundle"}
    given = {"operator_smtp_password", "operator_webhook_url"}  # an operator's own files, or none
    assert {p.name for p in folder.iterdir()} == wanted - given
    for service in ("metrics", "prometheus", "alertmanager", "grafana"):
        names = {s if isinstance(s, str) else s["source"] for s in document["services"][service]["secrets"]}
        assert names <= wanted
    assert len((folder / "metrics_token").read_text(encoding="utf-8").strip()) == 64
