"""The models' page: dbt's own documentation with its graph of lineage, as one file that loads nothing from elsewhere.

It is made of dbt's template and of the manifest that the last publication's build left, so that dbt need not start for it; what
``dbt docs generate --static`` adds is a catalog asked from the database, whose columns and types the models declare already. Tables bear
their served names, not the candidate's; each model says how long it took. ``<home>/models/index.html``, shown beside Data Docs (``serving``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import structlog

from estuaire.base import private_files
from estuaire.base.settings import Settings
from estuaire.report.serving import MODELS_POLICY, models_folder
from estuaire.warehouse.dbt_build import manifest_file

_log = structlog.get_logger(__name__)
PAGE = "index.html"
_CATALOG: dict[str, Any] = {"metadata": {}, "nodes": {}, "sources": {}, "errors": None}
_CANDIDATE = re.compile(
    r'(?<=")(marts|conformed|staging)_next(?=\\?")'
)  # a whole quoted name, in JSON or in SQL within it
_LINK = re.compile(r"<link\b[^>]*>")
_SLOTS = ('"MANIFEST.JSON INLINE DATA"', '"CATALOG.JSON INLINE DATA"')


def template() -> str:
    """dbt's own page, with two places for data."""
    return (resources.files("dbt") / "task" / "docs" / "index.html").read_text(encoding="utf-8")


def render(manifest: Mapping[str, Any], seconds: Mapping[str, float]) -> str:
    """The page.

    Args:
        manifest: dbt's manifest of the build.
        seconds: model or seed -> seconds that it took.
    """
    nodes = {key: _told(node, seconds) for key, node in manifest["nodes"].items()}
    metadata = {**manifest["metadata"], "send_anonymous_usage_stats": False, "user_id": None}
    page = _LINK.sub("", template())
    for slot, data in zip(_SLOTS, ({**manifest, "nodes": nodes, "metadata": metadata}, _CATALOG), strict=True):
        # a description may hold the end of a script: the same text in JSON, and none in HTML
        page = page.replace(slot, _CANDIDATE.sub(r"\1", json.dumps(data)).replace("</", "<\\/"), 1)
    return page.replace("<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{MODELS_POLICY}">', 1)


def _told(node: Mapping[str, Any], seconds: Mapping[str, float]) -> dict[str, Any]:
    """A node with its seconds, and without the machine's paths."""
    shown = {key: value for key, value in node.items() if key not in ("compiled_path", "build_path", "root_path")}
    if shown.get("resource_type") in ("model", "seed") and shown["name"] in seconds:
        shown["meta"] = {**shown.get("meta", {}), "seconds of the last build": round(seconds[shown["name"]], 2)}
    return shown


def write(settings: Settings, seconds: Mapping[str, float]) -> Path:
    """Write the page of the build that has just been published."""
    manifest = json.loads(manifest_file(settings).read_text(encoding="utf-8"))
    path = models_folder(settings) / PAGE
    private_files.closed_folder(path.parent)
    private_files.replace(path, render(manifest, seconds))
    return path


def write_quietly(settings: Settings, seconds: Mapping[str, float]) -> Path | None:
    """``write``; a page that fails is a warning in the log, never the publication's failure."""
    try:
        return write(settings, seconds)
    except Exception as error:  # noqa: BLE001 - whatever it is, the release is served
        _log.warning("models_page_not_written", error=type(error).__name__)
    return None
