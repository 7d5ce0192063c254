"""Prometheus's own tools on our rules, configurations and routes, and both programs as servers: what is away reaches the operator."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
import yaml
from alert_servers import hook_server, mail_server
from monitors import CONFIGURATION, Programs, hurried, monitors, served, until

from estuaire.base.settings import PROJECT_ROOT

__all__ = ["monitors"]

RULES_FILE = CONFIGURATION / "rules" / "estuaire.yml"


def test_promtool_agrees(monitors: Programs) -> None:
    done = monitors.run("promtool", "check", "rules", str(RULES_FILE))
    assert done.returncode == 0, done.stdout + done.stderr
    groups = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))["groups"]
    assert f"{sum(len(group['rules']) for group in groups)} rules found" in done.stdout
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
    alert = json.loads(hook.got[0][2])["alerts"][
        0
    ]  # absent before the first scrape, then down: one message of one rule
    assert alert["labels"]["alertname"] == "ExporterDown"
    assert "metrics_token" in alert["annotations"]["remedy"]
    assert "ExporterDown" in str(box.letters[0]["Subject"])
    assert box.recipients[0] == ["operator@example.org"]
