"""What to simulate: sizes, period, deliveries, faults. A plan and the registry decide every byte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property

from estuaire.base.errors import SetupError
from estuaire.simulator.trap_catalogue import DEFAULT_RATES


@dataclass(frozen=True)
class Window:
    """One delivery of each hospital: its place in the sequence and its period [start, end)."""

    sequence: int
    delivery_id: str
    kind: str
    start: date
    end: date


@dataclass(frozen=True)
class Sending:
    """A window as one hospital delivers it.

    Attributes:
        sequence: the manifest's; above the window's after a repeated delivery.
        start: first day of the manifest's period; a month early where the delivery overlaps the one before.
        again: the window's delivery once more, under another id and the next sequence.
        delay: days that the extract is made late, after the next one's.
    """

    window: Window
    delivery_id: str
    sequence: int
    start: date
    again: bool = False
    delay: int = 0


def month_start(day: date, months: int) -> date:
    """First day of the month ``months`` after that of ``day``."""
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)


@dataclass(frozen=True)
class SimulationPlan:
    """Parameters of one simulated world.

    Attributes:
        hospitals: hospital ids of the registry.
        patients: people in all (a person known in two hospitals counts once).
        administrations_per_patient: mean number of administrations; below about 30 the one stay that each person has
            at least sets the floor.
        years: length of the history, the months of the deltas included.
        until: last month, ``YYYY-MM``.
        deliveries: one full delivery, then ``deliveries - 1`` monthly deltas; by the hospital's number, a third of the hospitals
            send the first delta twice, a third extract it after the second one, a third repeat a month in the second one.
        upto_sequence: write the deliveries up to this one only (the same bytes as in a whole run).
        max_rows_per_file: a larger table is split into numbered files.
        trap_rates: by trap, planted records per new record of its table (rounded down; at most as many as records
            fit the trap, see ``trap_catalogue``); replaces all defaults.
        bad_checksum: (hospital, delivery id) pairs whose manifest declares a wrong checksum.
        shared_share: share of people known in several hospitals.
        hospital_null: True: plants beside the usual effects one that is none, of a drug that nobody else plants: prior hospitalisation
            alone raises the resistance (``effects.HOSPITAL_NULL``); nothing else of the world changes.
        other_drugs: False: antibacterials alone are prescribed and given (nine administrations in ten are of other drugs).
    """

    hospitals: tuple[str, ...] = ("h01", "h02", "h03")
    patients: int = 600
    administrations_per_patient: float = 240.0
    years: int = 5
    until: str = "2025-12"
    deliveries: int = 3
    seed: int = 1
    upto_sequence: int | None = None
    max_rows_per_file: int = 500_000
    trap_rates: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_RATES), hash=False)
    bad_checksum: tuple[tuple[str, str], ...] = ()
    shared_share: float = 0.06
    other_drugs: bool = True
    hospital_null: bool = False

    def __post_init__(self) -> None:
        try:
            date.fromisoformat(self.until + "-01")
        except ValueError:
            raise SetupError("the last month is not a month", remedy="give it as YYYY-MM, such as 2025-12") from None
        if not self.hospitals or len(set(self.hospitals)) != len(self.hospitals):
            raise SetupError("no hospital, or one twice, is asked for", remedy="name each hospital once")
        if self.patients < len(self.hospitals):
            raise SetupError(
                "there are fewer patients than hospitals", remedy="ask for at least one patient per hospital"
            )
        if not 1 <= self.deliveries < self.years * 12:
            raise SetupError(
                "the deliveries do not fit the history", remedy="ask for at least one, and fewer than its months"
            )
        unknown = set(self.trap_rates) - set(DEFAULT_RATES)
        if unknown:
            raise SetupError("an unknown trap is asked for", remedy=f"use traps of {', '.join(sorted(DEFAULT_RATES))}")

    @cached_property
    def end(self) -> date:
        """First day after the history."""
        return month_start(date.fromisoformat(self.until + "-01"), 1)

    @cached_property
    def start(self) -> date:
        """First day of the history."""
        return month_start(self.end, -12 * self.years)

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """Every delivery, in sequence, whatever ``upto_sequence`` says."""
        first_end = month_start(self.end, 1 - self.deliveries)
        last_day = first_end - timedelta(days=1)
        windows = [Window(1, f"{last_day:%Y-%m}-full", "full", self.start, first_end)]
        for sequence in range(2, self.deliveries + 1):
            start = windows[-1].end
            windows.append(Window(sequence, f"{start:%Y-%m}-delta", "delta", start, month_start(start, 1)))
        return tuple(windows)

    def sendings(self, hospital: str) -> tuple[Sending, ...]:
        """The deliveries that this run writes for a hospital, in sequence."""
        habit = sum(int(c) for c in hospital if c.isdigit()) % 3
        planned: list[Sending] = []
        for window in self.written_windows:
            number = len(planned) + 1
            overlaps = habit == 1 and window.sequence == 3
            start = month_start(window.start, -1) if overlaps else window.start
            late = 45 if habit == 0 and window.sequence == 2 and self.deliveries > 2 else 0
            planned.append(Sending(window, window.delivery_id, number, start, delay=late))
            if habit == 2 and window.sequence == 2 and (hospital, window.delivery_id) not in self.bad_checksum:
                planned.append(Sending(window, f"{window.delivery_id}-again", number + 1, start, again=True))
        return tuple(planned)

    @property
    def written_windows(self) -> tuple[Window, ...]:
        """The deliveries that this run writes."""
        return self.windows[: self.upto_sequence] if self.upto_sequence else self.windows
