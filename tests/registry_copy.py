"""A copy of the registry that a test may write to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from estuaire.base.settings import Settings
from estuaire.contract.registry import FOLDER


@pytest.fixture
def registry(tmp_path: Path) -> Settings:
    """Settings with a copy of the registry that a test may write to; h02 has no organism map, h03 no drug map."""
    shutil.copytree(FOLDER, tmp_path / "registry", ignore=shutil.ignore_patterns("__pycache__"))
    for hospital, system in (("h02", "organism"), ("h03", "drug")):
        described = tmp_path / "registry" / "hospitals" / f"{hospital}.yml"
        document = yaml.safe_load(described.read_text(encoding="utf-8"))
        if document.get("code_maps", {}).pop(system, None):
            (tmp_path / "registry" / "code_maps" / hospital / f"{system}.csv").unlink()
            document["code_maps"] = dict(document["code_maps"])
            described.write_text("# a comment\n" + yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return Settings(_env_file=None, home=tmp_path / "home", registry_dir=tmp_path / "registry")
