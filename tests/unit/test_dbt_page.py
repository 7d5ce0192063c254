"""The models' page: dbt's own, with the manifest inside, under the served names; it loads nothing and no text of a model ends its script."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from dbt_pages import page_manifest

from estuaire.base.settings import Settings
from estuaire.report.serving import MODELS_POLICY
from estuaire.warehouse import dbt_build, dbt_page

MANIFEST: dict[str, Any] = {
    "metadata": {"project_name": "estuaire", "user_id": "somebody", "send_anonymous_usage_stats": True},
    "nodes": {
        "model.estuaire.coverage": {
            "resource_type": "model", "name": "coverage", "schema": "marts_next", "relation_name": '"estuaire"."marts_next"."coverage"',
            "compiled_code": 'select 1 from "estuaire"."conformed_next"."record_month"', "compiled_path": "/somewhere/target/coverage.sql",
            "description": "Grain: one row. </script><script>alert(1)</script>", "meta": {"patient_level": False},
        },
        "seed.estuaire.organism": {"resource_type": "seed", "name": "organism", "schema": "conformed_next", "relation_name": None},
        "test.estuaire.x": {"resource_type": "test", "name": "coverage", "schema": "marts_next_dbt_test__audit"},
    },
    "sources": {}, "macros": {}, "parent_map": {"model.estuaire.coverage": ["model.estuaire.record_month"]},
}  # fmt: skip


def test_dbts_template_has_one_place_for_each() -> None:
    for slot in ('"MANIFEST.JSON INLINE DATA"', '"CATALOG.JSON INLINE DATA"', "<head>"):
        assert dbt_page.template().count(slot) == 1


def test_models_bear_their_served_names_and_their_seconds() -> None:
    held = page_manifest(dbt_page.render(MANIFEST, {"coverage": 1.234, "organism": 0.5}))
    mart, seed, test = held["nodes"].values()
    assert (mart["schema"], mart["relation_name"]) == ("marts", '"estuaire"."marts"."coverage"')
    assert mart["compiled_code"] == 'select 1 from "estuaire"."conformed"."record_month"'
    assert mart["meta"] == {"patient_level": False, "seconds of the last build": 1.23}
    assert (seed["schema"], seed["meta"]) == ("conformed", {"seconds of the last build": 0.5})
    assert "meta" not in test, "a test of the same name is another node"
    assert held["parent_map"] == MANIFEST["parent_map"]
    assert MANIFEST["nodes"]["model.estuaire.coverage"]["schema"] == "marts_next", "what was given is not changed"


def test_it_tells_nobody_and_names_no_path_of_the_machine() -> None:
    page = dbt_page.render(MANIFEST, {})
    assert page_manifest(page)["metadata"] == {
        "project_name": "estuaire", "user_id": None, "send_anonymous_usage_stats": False,
    }  # fmt: skip
    assert "/somewhere" not in page
    head = page[: page.index("<script")]
    assert f'content="{MODELS_POLICY}"' in head[: head.index(">", head.index("Content-Security-Policy")) + 1]
    assert "<link" not in head
    assert "default-src 'none'" in MODELS_POLICY
    assert not re.search(r"connect-src|https?:", MODELS_POLICY)
    assert re.findall(r"<(?:script|img|iframe)[^>]+\ssrc=[\"']?https?:", page) == []


def test_no_text_of_a_model_ends_the_script() -> None:
    page = dbt_page.render(MANIFEST, {})
    assert page.count("</script>") == dbt_page.template().count("</script>")
    assert page_manifest(page)["nodes"]["model.estuaire.coverage"]["description"].endswith("</script>")


def test_a_page_that_cannot_be_made_is_no_failure_and_leaves_the_old_one(tmp_path: Path) -> None:
    own = Settings(_env_file=None, home=tmp_path)
    assert dbt_page.write_quietly(own, {}) is None
    manifest = dbt_build.manifest_file(own)
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps(MANIFEST), encoding="utf-8")
    path = dbt_page.write_quietly(own, {"coverage": 2.0})
    assert path == own.root / "models" / "index.html"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    before = path.read_text(encoding="utf-8")
    manifest.write_text("{", encoding="utf-8")
    assert dbt_page.write_quietly(own, {}) is None
    assert path.read_text(encoding="utf-8") == before


@pytest.mark.parametrize("schema", ["marts", "conformed_r3", "my_marts_nextdoor"])
def test_only_a_candidates_name_is_another(schema: str) -> None:
    node = {"resource_type": "model", "name": "x", "schema": schema}
    held = page_manifest(dbt_page.render({"metadata": {}, "nodes": {"model.estuaire.x": node}}, {}))
    assert held["nodes"]["model.estuaire.x"]["schema"] == schema
