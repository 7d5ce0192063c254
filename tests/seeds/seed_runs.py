"""One seed through the platform: simulate, land, consolidate, load, build the exposure marts; and what twenty of them must show.

The seeds and the plan are fixed here beforehand: no seed is drawn again because its estimate displeases. Each seed is one world with two
planted effects and a true null (``effects.HOSPITAL_NULL``), in which prior hospitalisation alone raises the resistance.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from small_platform import SmallPlatform

from estuaire.base.settings import Settings
from estuaire.simulator import SimulationPlan, simulate
from estuaire.warehouse import dbt_build

SEEDS = tuple(range(1, 21))
MUST_HOLD = 17  # of 20: a 95 % interval that covers as it says fails this bar for fewer than 2 sets of 20 seeds in 100
Z = NormalDist().inv_cdf(0.975)
NOT_READ = (
    "lab_result",
    "movement",
    "prescription",
    "procedure",
)  # half of the records, of which no exposure model reads one


def plan(seed: int) -> SimulationPlan:
    """About 1,500 people with an index isolate, the traps at their default rates.

    Two years instead of five, so that more people were in hospital in the 90 days before; antibacterials alone, because other drugs
    change nothing here and are nine administrations in ten.
    """
    return SimulationPlan(patients=6000, years=2, deliveries=1, seed=seed, other_drugs=False, hospital_null=True)


@dataclass(frozen=True)
class Estimated:
    """An odds ratio and its 95 % interval, as the mart publishes them."""

    odds_ratio: float
    low: float
    high: float

    @property
    def log(self) -> float:
        return math.log(self.odds_ratio)

    @property
    def error(self) -> float:
        """Standard error of the logarithm, from the interval's width."""
        return (math.log(self.high) - math.log(self.low)) / (2 * Z)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Outcome:
    """What the mart says of one planted effect of one seed, beside the truth file.

    Attributes:
        planted, expected_crude, expected_unrestricted: odds ratios of the truth file.
        adjusted, crude: the mart's estimates among people with an observed day; unrestricted: Mantel-Haenszel of everybody.
        index_isolates, exposed: people, in the mart and in the truth file (tested or not, observed or not).
        observed: people with an observed day, in the mart and in the truth file; not_tested: of them, in the mart.
        not_observable: of the mart's people.
    """

    seed: int
    effect: str
    planted: float
    expected_crude: float
    expected_unrestricted: float
    crude: Estimated
    adjusted: Estimated
    unrestricted: Estimated
    index_isolates: tuple[int, int]
    observed: tuple[int, int]
    exposed: tuple[int, int]
    not_tested: int
    not_observable: int

    def line(self) -> str:
        """For whoever watches the run."""
        return (
            f"seed {self.seed:2} {self.effect[:22]:22} adjusted {self.adjusted.odds_ratio:5.2f} "
            f"({self.adjusted.low:.2f}-{self.adjusted.high:.2f}) planted {self.planted} "
            f"{'held' if self.adjusted.holds(self.planted) else 'MISSED'}; crude {self.crude.odds_ratio:5.2f} expected "
            f"{self.expected_crude:5.2f}; unrestricted {self.unrestricted.odds_ratio:5.2f} ({self.unrestricted.low:.2f}-"
            f"{self.unrestricted.high:.2f}) expected {self.expected_unrestricted:5.2f}; people {self.index_isolates[0]}/{self.index_isolates[1]} "
            f"observed {self.observed[0]}/{self.observed[1]} exposed {self.exposed[0]}/{self.exposed[1]} not tested {self.not_tested} not observable {self.not_observable}"
        )


def keep_what_is_read(settings: Settings) -> None:
    """Take the tables that no exposure model reads out of each delivery and its manifest: they cost half of the time."""
    for path in settings.store_path.glob("landing/*/*/manifest.json"):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        for file in manifest["files"]:
            if file["table"] in NOT_READ:
                (path.parent / file["path"]).unlink()
        manifest["files"] = [f for f in manifest["files"] if f["table"] not in NOT_READ]
        path.write_text(json.dumps(manifest), encoding="utf-8")


def run_seed(platform: SmallPlatform, simulated: SimulationPlan) -> list[Outcome]:
    """Simulate into the platform's store, take the chain to the marts, and read one outcome per planted effect."""
    settings = platform.settings
    summary = simulate(settings, simulated, target=settings.store_path)
    truth = json.loads(summary.truth_path.read_text(encoding="utf-8"))
    keep_what_is_read(settings)
    landed = platform.land()["landed"]
    assert landed == len(simulated.hospitals), f"{landed} deliveries were landed"
    platform.consolidate()
    platform.load()
    dbt_build.run(settings, ["run", "--select", "+exposure_resistance"], log=settings.logs / "seeds.log")
    found = [_outcome(platform, simulated.seed, effect) for effect in truth["effects"]]
    shutil.rmtree(settings.store_path)
    return found


def _outcome(platform: SmallPlatform, seed: int, effect: dict[str, Any]) -> Outcome:
    main = "effect = %s and window_days = 90 and excluded_last_days = 0"
    rows = platform.ask(
        "select estimate, odds_ratio, ci_low, ci_high, index_isolates, not_tested, not_observable "
        f"from marts_next.exposure_resistance where {main}",
        effect["name"],
    )
    restricted = next(r for r in rows if r[0] == "mantel_haenszel")
    estimates = {r[0]: Estimated(*(float(x) for x in r[1:4])) for r in rows}
    [(exposed, observed)] = platform.ask(
        "select count(*) filter (where exposed), count(*) filter (where days_observable > 0) "
        f"from conformed_next.index_exposure where {main}",
        effect["name"],
    )
    return Outcome(
        seed,
        effect["name"],
        effect["planted_odds_ratio"],
        effect["expected_crude_odds_ratio"],
        effect["expected_unrestricted_odds_ratio"],
        estimates["crude"],
        estimates["mantel_haenszel"],
        estimates["unrestricted_mantel_haenszel"],
        (restricted[4], effect["index_isolates"]),
        (observed, effect["observed"]),
        (exposed, effect["exposed"]),
        restricted[5],
        restricted[6],
    )


def held(outcomes: Sequence[Outcome]) -> int:
    """Seeds whose adjusted interval holds the planted odds ratio."""
    return sum(o.adjusted.holds(o.planted) for o in outcomes)


@dataclass(frozen=True)
class Bias:
    """Means over the seeds, of logarithms: how far the crude odds ratio is from what the truth expects, and from the planted one.

    Attributes:
        from_expected: mean of log(crude) - log(expected crude), and that over its standard error (``z``).
        from_planted: mean of log(crude) - log(planted).
        foretold: mean of log(expected crude) - log(planted): the bias that the truth file states.
    """

    from_expected: float
    z: float
    from_planted: float
    foretold: float


def bias(outcomes: Sequence[Outcome]) -> Bias:
    """See ``Bias``; the standard error is that of the mean of independent Woolf estimates."""
    count = len(outcomes)
    from_expected = sum(o.crude.log - math.log(o.expected_crude) for o in outcomes) / count
    error = math.sqrt(sum(o.crude.error**2 for o in outcomes)) / count
    return Bias(
        from_expected,
        from_expected / error,
        sum(o.crude.log - math.log(o.planted) for o in outcomes) / count,
        sum(math.log(o.expected_crude) - math.log(o.planted) for o in outcomes) / count,
    )
