"""Whose fault a blocked candidate is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from estuaire.gates.attribution import at_fault
from estuaire.gates.results import Result
from estuaire.gates.warehouse import Finding
from estuaire.rules.rule_registry import Rule, load_rules

SHARE = next(r for r in load_rules("conformed")["isolate"] if r.id == "isolate.organism.mapped")
NONE = next(r for r in load_rules("conformed")["isolate"] if r.id == "isolate.status.code")


def finding(rule: Rule, counts: dict[str, tuple[int, int]], elsewhere: int = 0, *, agree: bool = True) -> Finding:
    """A gate's finding: hospital -> (rows checked, rows that break the rule); ``elsewhere`` broken rows are of no hospital."""
    own = {h: [Result("isolate", rule, *c, gx_agrees=agree)] for h, c in counts.items()}
    checked, failed = (sum(c[i] for c in counts.values()) + elsewhere for i in (0, 1))
    return Finding("conformed", [Result("isolate", rule, checked, failed, gx_agrees=agree)], own)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"h01": (1000, 0), "h02": (1000, 1)}, set()),  # 0.05 %: does not block
        ({"h01": (1000, 0), "h02": (100, 100)}, {"h02"}),
        ({"h01": (1000, 9), "h02": (100, 100), "h03": (1000, 30)}, {"h02", "h03"}),
        (
            {"h01": (1000, 9), "h02": (900, 100), "h03": (100000, 1001)},
            {"h02"},
        ),  # h03 alone exceeds it, the rest does not
        ({"h01": (100, 0), "h02": (390, 390)}, set()),  # fewer rows than the rule asks
    ],
)
def test_the_fewest_hospitals_without_which_the_share_is_kept(
    counts: dict[str, tuple[int, int]], expected: set[str]
) -> None:
    assert set(at_fault([finding(SHARE, counts)])) == expected


def test_a_rule_without_a_threshold_is_broken_by_whoever_breaks_it() -> None:
    found = at_fault([finding(NONE, {"h01": (10, 0), "h02": (10, 1), "h03": (10, 2)})])
    assert found == {
        "h02": {"conformed": ["isolate.status.code: 1 of 10"]}, "h03": {"conformed": ["isolate.status.code: 2 of 10"]},
    }  # fmt: skip


def test_what_is_no_hospitals_fault_has_none() -> None:
    assert at_fault([finding(NONE, {"h01": (10, 0)}, elsewhere=1)]) == {}
    assert at_fault([finding(NONE, {"h01": (10, 3)}, agree=False)]) == {}
    # one rule that is nobody's, and nobody is held back for another
    assert at_fault([finding(NONE, {"h01": (10, 1)}), finding(NONE, {"h01": (10, 0)}, elsewhere=1)]) == {}


def test_rows_of_the_group_follow_from_their_hospitals() -> None:
    assert set(at_fault([finding(NONE, {"h01": (10, 1), "h02": (10, 0)}, elsewhere=1)])) == {"h01"}


def test_a_rule_that_only_warns_sets_nobody_aside() -> None:
    assert at_fault([finding(replace(SHARE, action="warn"), {"h01": (1000, 1000)})]) == {}
