"""Planted effects beside those that the marts estimate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from estuaire.report.planted import matching, planted_effects
from estuaire.storage.platform import Platform

if TYPE_CHECKING:
    from estuaire.report.marts import Exposure


def beside(platform: Platform, exposures: Sequence[Exposure]) -> list[dict[str, object]]:
    """One row per planted effect that the mart estimates, main window: planted and estimated, crude as expected and as found."""
    effects = planted_effects(platform)
    rows: list[dict[str, object]] = []
    for exposure in (e for e in exposures if e.main):
        truth = matching(effects, exposure.effect, exposure.atc, exposure.agent)
        if truth is None:
            continue
        adjusted, crude = exposure.adjusted, exposure.crude
        holds = None
        if adjusted is not None and adjusted.low is not None and adjusted.high is not None:
            holds = adjusted.low <= truth.odds_ratio <= adjusted.high
        rows.append(
            {
                "effect": exposure.effect,
                "planted": f"{truth.odds_ratio:.2f}",
                "Mantel-Haenszel": _ratio(adjusted.odds_ratio if adjusted else None),
                "95% interval": f"{_ratio(adjusted.low)} to {_ratio(adjusted.high)}" if adjusted else "",
                "holds it": holds,
                "crude expected": _ratio(truth.expected_crude),
                "crude": _ratio(crude.odds_ratio if crude else None),
            }
        )
    return rows


def _ratio(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
