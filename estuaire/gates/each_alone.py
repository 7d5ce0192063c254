"""What an audit over many hospitals' files does where it cannot count, or counts otherwise: look at each by itself.

Where all files can be read and both engines agree, nothing here asks Spark for anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from estuaire.base.errors import PASSING
from estuaire.gates.gx import Counts, Suites
from estuaire.gates.results import Result
from estuaire.rules.rule_registry import Rule
from estuaire.storage.duck import readable, reading
from estuaire.storage.object_store import ObjectStore

P = TypeVar("P", bound=Any)  # whose files: a hospital, or a delivery of one
Frames = Mapping[str, tuple[Callable[[], Any], Sequence[Rule]]]


@dataclass
class Counted(Generic[P]):
    """What Great Expectations counted, by frame, over those whose files could be read; and of the others the keys that could not."""

    suites: Suites
    counts: dict[str, Counts]
    unread: dict[P, list[str]]


def counted(
    store: ObjectStore, keys: Mapping[P, Sequence[str]], frames_of: Callable[[Collection[P]], Frames]
) -> Counted[P]:
    """Count over the files of all; where one's cannot be read (lost, cut short, damaged), over those of the others.

    Args:
        keys: whose -> store keys of its files.
        frames_of: the frames over the files of some of them.

    Raises:
        StoreUnavailable: the store did not answer.
        Exception: what stopped the count, where no one's files are to blame.
    """
    unread: dict[P, list[str]] = {}
    while True:
        left = [place for place in keys if place not in unread]
        suites, stopped = Suites(), None
        counts: dict[str, Counts] = {}
        try:
            counts = suites.frames(frames_of(left))
        except PASSING:
            raise
        except Exception as error:  # noqa: BLE001 - raised again where no file explains it
            stopped = error
        if stopped is None and None not in [n for by_rule in counts.values() for n in by_rule.values()]:
            return Counted(suites, counts, unread)
        at_fault = _unreadable(store, {place: keys[place] for place in left}, frames_of)
        if not at_fault:
            if stopped is not None:
                raise stopped
            return Counted(suites, counts, unread)
        unread |= at_fault


def _unreadable(
    store: ObjectStore, keys: Mapping[P, Sequence[str]], frames_of: Callable[[Collection[P]], Frames]
) -> dict[P, list[str]]:
    """Of these places those whose files are lost, or that Spark cannot read by themselves, or where it can read none, DuckDB."""
    lost = {place: gone for place, files in keys.items() if (gone := [key for key in files if store.stat(key) is None])}
    if lost:
        return lost
    stuck = [place for place in keys if None in alone(frames_of([place])).values()]
    damaged = {}
    with reading(store) as connection:
        for place in stuck:
            damaged[place] = [key for key in keys[place] if not readable(connection, store.url(key))]
    if len(stuck) < len(keys):  # the others' could be read: whatever it is, it is in these files
        return {place: damaged_files or list(keys[place]) for place, damaged_files in damaged.items()}
    return {place: damaged_files for place, damaged_files in damaged.items() if damaged_files}


def alone(frames: Frames) -> dict[str, Counts | None]:
    """Per frame what Spark itself counts, rule by rule; None of one that it cannot read."""
    counts: dict[str, Counts | None] = {}
    for name, (frame, rules) in frames.items():
        try:
            [row] = frame().groupBy().sum(*(r.mark for r in rules)).collect() if rules else [()]
        except PASSING:
            raise
        except Exception:  # noqa: BLE001 - asked for, to be told by the caller
            counts[name] = None
        else:
            counts[name] = {r.id: int(n or 0) for r, n in zip(rules, row, strict=True)}
    return counts


def compared(
    table: str,
    rules: Sequence[Rule],
    counts: Counts,
    results: Mapping[P, Mapping[str, Result]],
    frames_of: Callable[[Collection[P]], Frames],
    frame: str,
) -> list[Result]:
    """The totals per rule of one frame; each place's own results are told whether both engines agree on them.

    One suite an entity: Great Expectations counts over all, the native counts are summed to compare. Where the sums differ, Spark counts
    each place by itself: whoever's counts are equal there is not to blame. Where all are, nobody knows, and all err.
    """
    results_by_rule = {
        rule.id: {place: of[rule.id] for place, of in results.items() if rule.id in of} for rule in rules
    }
    differing = {
        r for r, by_place in results_by_rule.items() if counts.get(r) != sum(x.in_files for x in by_place.values())
    }
    to_blame = _disagreeing(results_by_rule, frames_of, frame) if differing else set()
    totals = []
    for rule in rules:
        named = {place for place, rule_id in to_blame if rule_id == rule.id}
        agree = rule.id not in differing
        for place, result in results_by_rule[rule.id].items():
            result.gx_agrees = agree or bool(named and place not in named)
        same = results_by_rule[rule.id].values()
        if same:
            checked, failed, written = (
                sum(x.rows_checked for x in same), sum(x.rows_failed for x in same), sum(x.in_files for x in same),
            )  # fmt: skip
            totals.append(Result(table, rule, checked, failed, written, counts.get(rule.id), agree))
    return totals


def _disagreeing(
    results_by_rule: Mapping[str, Mapping[P, Result]], frames_of: Callable[[Collection[P]], Frames], name: str
) -> set[tuple[P, str]]:
    """(place, rule) whose native count is not what Spark counts over the place's files alone."""
    disagreeing = set()
    for place in dict.fromkeys(p for by_place in results_by_rule.values() for p in by_place):
        frames = frames_of([place])
        told = alone({name: frames[name]})[name] if name in frames else {}
        for rule_id, by_place in results_by_rule.items():
            if place in by_place and (None if told is None else told.get(rule_id, 0)) != by_place[place].in_files:
                disagreeing.add((place, rule_id))
    return disagreeing
