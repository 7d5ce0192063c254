"""The profile `observability`: the image `monitor`, built and confined; Prometheus reads every part, each panel has data, a part that is
away reaches Alertmanager. Grafana's image comes from a registry: where none is reached, its dashboards' queries are asked of Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx2
import pytest
import yaml
from compose_project import PLAN, Project
from monitors import Page, until

from estuaire.base.settings import PROJECT_ROOT

pytestmark = [pytest.mark.compose]

BLOCKED = ("h07", PLAN.windows[0].delivery_id)
PARTS = ("prometheus", "alertmanager")
QUERIES = [
    panel["query"]
    for dashboard in yaml.safe_load((PROJECT_ROOT / "infra" / "grafana" / "panels.yml").read_text(encoding="utf-8")).values()
    for panel in dashboard["panels"]
]  # fmt: skip


@pytest.fixture(scope="module")
def pages(up: Project, free_port: Callable[[], int]) -> Iterator[dict[str, Page]]:
    """Both pages by the ports that the compose file publishes, after the small simulation has been published, and a seventh hospital's
    delivery blocked: what tells of deliveries that need a hand has nothing to show otherwise."""
    while up.sequence < 2:
        up.wait_published(up.deliver())
    up.cli(
        "simulate", "--hospitals", BLOCKED[0], "--patients", "20", "--administrations", "10", "--deliveries", str(PLAN.deliveries),
        "--only-deliveries", "1", "--bad-checksum", ":".join(BLOCKED),
    )  # fmt: skip
    up.wait_blocked(*BLOCKED)
    up.cli("alerts", "--check")  # by itself only where somebody is to be told
    up.cli("upkeep")
    addresses = {name: f"127.0.0.1:{free_port()}" for name in PARTS}
    up.environment |= {f"ESTUAIRE_{name.upper()}_PUBLISH": address for name, address in addresses.items()}
    up.environment["COMPOSE_PROFILES"] = "observability"
    try:
        up.compose("build", "--quiet", *PARTS, timeout=1800)
        up.compose("up", "-d", "--no-deps", *PARTS, timeout=300)
        until(lambda: {_health(up, name) for name in PARTS} == {"healthy"}, 300, "the image `monitor` is not healthy")
        password = up.secret_values()["prometheus_password"]
        yield {name: Page(f"http://{address}", password) for name, address in addresses.items()}
    finally:
        up.compose("rm", "-s", "-f", *PARTS, timeout=120)
        del up.environment["COMPOSE_PROFILES"]


def _health(up: Project, service: str) -> str:
    return str(up.container(service)["State"]["Health"]["Status"])


def test_they_are_confined_and_ask_who_calls(up: Project, pages: dict[str, Page]) -> None:
    for name in PARTS:
        told = up.container(name)
        assert told["Config"]["User"].split(":")[0] not in ("", "0", "root")
        assert told["HostConfig"]["ReadonlyRootfs"]
        assert told["HostConfig"]["CapDrop"] == ["ALL"]
        assert {b["HostIp"] for bound in told["NetworkSettings"]["Ports"].values() for b in bound or []} == {
            "127.0.0.1"
        }
        for auth in (None, ("estuaire", "wrong")):
            assert httpx2.get(pages[name].url, auth=auth, trust_env=False, timeout=30).status_code == 401


def test_every_part_is_read_and_every_panel_has_data(pages: dict[str, Page]) -> None:
    prometheus = pages["prometheus"]
    until(lambda: len(prometheus.query("up == 1")) == 3, 120, "not every target is read")
    until(lambda: prometheus.query("estuaire_records"), 120, "the page of metrics was not read")
    assert prometheus.query("estuaire_scrape_error == 1") == []
    time.sleep(35)  # a rate needs two scrapes
    empty = {query for query in QUERIES if not prometheus.query(query)}
    assert not empty, empty
    assert len(prometheus.get("/api/v1/alertmanagers")["activeAlertmanagers"]) == 1
    rules = [r for group in prometheus.get("/api/v1/rules")["groups"] for r in group["rules"]]
    assert len(rules) >= 28
    assert {r["health"] for r in rules} == {"ok"}


def test_a_part_that_is_away_reaches_alertmanager(up: Project, pages: dict[str, Page]) -> None:
    up.compose("stop", "metrics", timeout=120)
    try:

        def told() -> bool:
            alerts = pages["alertmanager"].get("/api/v2/alerts")
            return any(one["labels"]["alertname"] == "ExporterDown" for one in alerts)

        until(told, 600, "Alertmanager was not told that the page of metrics is away")
    finally:
        up.compose("up", "-d", "--no-deps", "metrics", timeout=300)
