"""What the registry says of a hospital reaches the models: a change of it alone is loaded, a staging of an earlier version is made anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_platform import SmallPlatform, dose

from estuaire.contract.registry import FOLDER, load_registry


@pytest.fixture
def own(platform: SmallPlatform, tmp_path: Path) -> Path:
    """The platform with a registry of its own; returns h01's file in it."""
    registry = tmp_path / "registry"
    for name in ("hospitals", "code_maps"):
        shutil.copytree(FOLDER / name, registry / name)
    platform = platform.but(registry_dir=registry)
    return registry / "hospitals" / "h01.yml"


def told(platform: SmallPlatform) -> tuple[object, ...]:
    [row] = platform.ask(
        "select combination_doses, combination_doses_by_drug from staging.hospital where hospital_id = 'h01'"
    )
    return row


def test_what_a_dose_is_is_loaded_when_it_changes(platform: SmallPlatform, own: Path) -> None:
    platform.deliver("d1", 1, administration=[dose("A"), dose("B")])
    platform.land()
    platform.consolidate()
    assert platform.load()["hospitals"] == ["h01"]
    assert told(platform) == ("substance", {})
    assert platform.load()["hospitals"] == []

    text = own.read_text(encoding="utf-8")
    own.write_text(text + "combination_doses: {default: product, J01CR02: substance}\n", encoding="utf-8")
    load_registry.cache_clear()
    assert platform.load()["hospitals"] == ["h01"]
    assert told(platform) == ("product", {"J01CR02": "substance"})
    assert platform.load()["hospitals"] == []

    # a database of the version before: the table lacks the columns
    platform.execute(
        "alter table staging.hospital drop column combination_doses, drop column combination_doses_by_drug"
    )
    assert platform.load()["hospitals"] == ["h01"]
    assert told(platform) == ("product", {"J01CR02": "substance"})
