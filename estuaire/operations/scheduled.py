"""What the DAGs of operations call: the watch and the upkeep, each one line on what it did."""

from __future__ import annotations

from estuaire.storage.platform import Platform


def watch(platform: Platform) -> str:
    """Look at what needs a hand, and tell the people whom the settings name; one line on what was done."""
    from estuaire.operations.alerts.delivering import check

    return check(platform).sentence()


def upkeep(platform: Platform) -> str:
    """Put away what is old; one line on what was freed."""
    from estuaire.operations import upkeep

    return upkeep.run(platform).sentence()
