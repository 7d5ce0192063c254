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
    """Settings with a registry of four hospitals that a test may write to; h02 has no organism map, h03 no drug map."""
    for hospital in ("h01", "h02", "h03", "h04"):  # of all each test would read some three hundred code maps
        (tmp_path / "registry" / "hospitals").mkdir(parents=True, exist_ok=True)
        shutil.copy(FOLDER / "hospitals" / f"{hospital}.yml", tmp_path / "registry" / "hospitals")
        shutil.copytree(FOLDER / "code_maps" / hospital, tmp_path / "registry" / "code_maps" / hospital)
    for hospital, system in (("h02", "organism"), ("h03", "drug")):
        described = tmp_path / "registry" / "hospitals" / f"{hospital}.yml"
        document = yaml.safe_load(described.read_text(encoding="utf-8"))
        if document.get("code_maps", {}).pop(system, None):
            (tmp_path / "registry" / "code_maps" / hospital / f"{system}.csv").unlink()
            document["code_maps"] = dict(document["code_maps"])
            described.write_text("# a comment\n" + yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return Settings(_env_file=None, home=tmp_path / "home", registry_dir=tmp_path / "registry")
