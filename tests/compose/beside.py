"""The embedded run beside the server: the same deliveries, the same stages, the same key; what both publish is compared byte by byte."""

from __future__ import annotations

from dataclasses import replace

from compose_project import PLAN
from published import copied
from small_platform import SmallPlatform

from estuaire.simulator import simulate


def published_beside(platform: SmallPlatform, sequence: int) -> dict[str, bytes]:
    """What an embedded run publishes of the deliveries up to this one of each hospital."""
    simulate(platform.settings, replace(PLAN, upto_sequence=sequence))
    platform.land()
    platform.consolidate()
    platform.load()
    platform.publish()
    return copied(platform.settings)


def same(ours: dict[str, bytes], theirs: dict[str, bytes]) -> None:
    """Every published table, byte by byte."""
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert len(ours["marts.antibiotic_consumption"]) > 10_000
