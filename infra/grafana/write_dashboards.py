"""Writes dashboards/*.json from panels.yml: `python infra/grafana/write_dashboards.py`. Grafana reads them at its start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
SOURCE = {"type": "prometheus", "uid": "prometheus"}
_WIDTH, _HEIGHT, _ACROSS = 8, 8, 24  # of Grafana's grid
_SMALL = 4  # height of a stat


def documents() -> dict[str, dict[str, Any]]:
    """Name -> Grafana's document."""
    described = yaml.safe_load((HERE / "panels.yml").read_text(encoding="utf-8"))
    return {name: _dashboard(name, one) for name, one in described.items()}


def written(document: dict[str, Any]) -> str:
    """A document as its file holds it."""
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _dashboard(name: str, described: dict[str, Any]) -> dict[str, Any]:
    panels, x, y, height = [], 0, 0, 0
    for number, one in enumerate(described["panels"], start=1):
        stat = one["kind"] == "stat"
        width, tall = (6, _SMALL) if stat else (_WIDTH, _HEIGHT)
        if x + width > _ACROSS or (height and tall != height):
            x, y = 0, y + height
        height = tall
        panels.append(_panel(number, one, {"x": x, "y": y, "w": width, "h": tall}))
        x += width
    return {
        "uid": f"estuaire-{name}",
        "title": described["title"],
        "tags": ["estuaire"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "1m",
        "time": {"from": "now-7d", "to": "now"},
        "panels": panels,
    }


def _panel(number: int, one: dict[str, Any], place: dict[str, int]) -> dict[str, Any]:
    now = one["kind"] != "timeseries"
    target = {
        "refId": "A", "datasource": SOURCE, "expr": one["query"], "legendFormat": one.get("by", ""),
        "instant": now, "range": not now, "format": "table" if one["kind"] == "table" else "time_series",
    }  # fmt: skip
    return {
        "id": number,
        "type": one["kind"],
        "title": one["title"],
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": one["unit"]}, "overrides": []},
        "options": {"orientation": "horizontal"} if one["kind"] == "bargauge" else {},
        "targets": [target],
    }


if __name__ == "__main__":
    for name, document in documents().items():
        (HERE / "dashboards" / f"{name}.json").write_text(written(document), encoding="utf-8")
