"""Hospitals whose newest content is not in a release: why, and what is served in its place. As ``control.release`` keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

REMEDY = "correct the cause that the rules name (a corrected delivery, a code map, a rule); the next publication tries it again"
STAGING, SCHEMA, MIXED = "staging", "staging_served", "staging_mixed_next"


@dataclass(frozen=True)
class Held:
    """Why a hospital's newest content is not in a release.

    Attributes:
        refused: hash of that content; judged_with: hash of the models and rules that it was judged with.
        serves: hash of the content that is served in its place; None where it was never published: it is left out.
        of_release: the release that this content was first published with.
        reasons: gate -> what broke there.
    """

    refused: str
    judged_with: str
    serves: str | None
    of_release: int | None
    reasons: dict[str, list[str]] = field(default_factory=dict)

    def note(self, hospital: str) -> str:
        """One sentence for the release's notes."""
        why = "; ".join(f"gate {stage}: {', '.join(reasons)}" for stage, reasons in self.reasons.items())
        place = (
            "it was never published and is left out"
            if self.serves is None
            else f"its content of release {self.of_release} stays served"
        )
        return f"{hospital} is held back ({why}), {place}"


def dumped(held: Mapping[str, Held]) -> dict[str, Any]:
    """``held`` as control.release keeps it."""
    return {hospital: asdict(one) for hospital, one in sorted(held.items())}


def read(document: Mapping[str, Any]) -> dict[str, Held]:
    """What ``dumped`` wrote."""
    return {hospital: Held(**one) for hospital, one in sorted(document.items())}
