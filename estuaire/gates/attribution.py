"""Whose fault is it: the hospitals without which the rules that block a candidate would be kept.

A rule is judged over all hospitals; where it blocks, the hospitals that break it most are set aside one by one until it would not. Rows of
the group, which follow from the hospitals', are judged again once the candidate is rebuilt.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from estuaire.gates.results import Result

if TYPE_CHECKING:
    from estuaire.gates.warehouse import Finding

Broken = dict[str, dict[str, list[str]]]  # hospital -> gate -> reasons


def at_fault(findings: Sequence[Finding]) -> Broken:
    """Hospital -> gate -> what it broke there; empty where something that blocks is no hospital's (rows of the group alone, a rule that
    is about no hospital, engines that disagree)."""
    broken: Broken = {}
    for finding in findings:
        for total in finding.totals:
            if not total.blocks:
                continue
            set_aside = _setting_aside(total, finding.hospitals)
            if not set_aside:
                return {}
            for hospital, result in set_aside.items():
                broken.setdefault(hospital, {}).setdefault(finding.stage, []).append(result.reason())
    return broken


def _setting_aside(total: Result, hospitals: Mapping[str, Sequence[Result]]) -> dict[str, Result]:
    """The fewest hospitals whose rows, set aside, leave a rule that does not block."""
    if total.status == "error":
        return {}
    result_by_hospital = {h: r for h, results in hospitals.items() for r in results if r.rule.id == total.rule.id}
    rest = _over(total, result_by_hospital.values())
    if not rest.blocks:  # the hospitals' own rows keep the rule: it is the group's that do not
        return {}
    by_excess = sorted(result_by_hospital, key=lambda h: (-result_by_hospital[h].excess, h))
    aside: dict[str, Result] = {}
    for hospital in by_excess:
        if not rest.blocks or result_by_hospital[hospital].excess <= 0:
            break
        aside[hospital] = result_by_hospital[hospital]
        rest = _over(total, [r for h, r in result_by_hospital.items() if h not in aside])
    return {} if rest.blocks else aside


def _over(total: Result, results: Collection[Result]) -> Result:
    checked, failed = sum(r.rows_checked for r in results), sum(r.rows_failed for r in results)
    return Result(total.table, total.rule, checked, failed, gx_agrees=True)
