"""When deliveries that arrive are told of: settled, together, once."""

from __future__ import annotations

from estuaire.orchestration.arrivals import FORGOTTEN_AFTER, Arrivals

ONE, GROWN, TWO, THREE = ("h01", "a", "f1"), ("h01", "a", "f2"), ("h02", "b", "f3"), ("h03", "c", "f4")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_delivery_is_told_of_once_two_looks_find_it_the_same() -> None:
    arrivals = Arrivals(Clock())
    told = [arrivals.look(frozenset(found)) for found in ([], [ONE], [GROWN], [GROWN], [GROWN], [])]
    assert told == [[], [], [], [GROWN], [], []]


def test_those_that_come_together_are_told_of_together() -> None:
    arrivals = Arrivals(Clock())
    told = [arrivals.look(frozenset(found)) for found in ([ONE], [ONE, TWO], [ONE, TWO])]
    assert told == [[], [ONE], []]
    # the run that was started finds both; what comes while it lands is told of as soon as the first is taken up
    assert arrivals.look(frozenset([THREE])) == []
    assert arrivals.look(frozenset([THREE])) == [THREE]


def test_one_run_is_waited_for_before_the_next_is_started() -> None:
    arrivals = Arrivals(Clock())
    for _ in range(2):
        told = arrivals.look(frozenset([ONE]))
    assert told == [ONE]
    assert [arrivals.look(frozenset([ONE, TWO])) for _ in range(3)] == [[], [], []]  # the first is not taken up yet
    assert arrivals.look(frozenset([TWO])) == [TWO]


def test_what_nobody_took_up_is_told_again() -> None:
    clock = Clock()
    arrivals = Arrivals(clock)
    assert [arrivals.look(frozenset([ONE])) for _ in range(3)] == [[], [ONE], []]
    clock.now = FORGOTTEN_AFTER
    assert arrivals.look(frozenset([ONE])) == [ONE]
    assert arrivals.look(frozenset([ONE])) == []
