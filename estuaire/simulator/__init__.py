"""Simulated deliveries of fictional hospitals: a seeded truth world, written in each hospital's own dialect.

``simulate(settings, SimulationPlan(...))`` is the entry. Steps, one module each: ``population`` and ``stays`` draw the group's
people, ``administrations`` one hospital's doses, ``world`` gathers its tables in standard codes, ``changes`` says what each
delivery tells, ``traps`` plants faults, ``text`` renders a dialect, ``delivery`` writes files and manifest, ``truth`` counts.
"""

from estuaire.simulator.plan import SimulationPlan
from estuaire.simulator.run import SimulationSummary, already_written, simulate

__all__ = ["SimulationPlan", "SimulationSummary", "already_written", "simulate"]
