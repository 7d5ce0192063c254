"""What the registry says of a hospital reaches the models: a change of it alone is loaded, a staging of an earlier version is made anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_platform import SmallPlatform, dose

from estuaire.contract.registry import FOLDER, load_registry


@pytest.fixture
def with_registry(platform: SmallPlatform, tmp_path: Path) -> SmallPlatform:
    """The platform with a registry of its own."""
    registry = tmp_path / "registry"
    for name in ("hospitals", "code_maps"):
        shutil.copytree(FOLDER / name, registry / name)
    return platform.but(registry_dir=registry)


def told(platform: SmallPlatform) -> tuple[object, ...]:
    [row] = platform.ask(
        "select combination_doses, combination_doses_by_drug from staging.hospital where hospital_id = 'h01'"
    )
    return row


def test_what_a_dose_is_is_loaded_when_it_changes(with_registry: SmallPlatform) -> None:
    platform, folder = with_registry, with_registry.settings.registry_dir
    assert folder is not None
    entry = folder / "hospitals" / "h01.yml"
    platform.deliver("d1", 1, administration=[dose("A"), dose("B")])
    platform.land()
    platform.consolidate()
    assert platform.load()["hospitals"] == ["h01"]
    assert told(platform) == ("substance", {})
    assert platform.load()["hospitals"] == []

    text = entry.read_text(encoding="utf-8")
    entry.write_text(text + "combination_doses: {default: product, J01CR02: substance}\n", encoding="utf-8")
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
