"""Standard codes that a local code may mean: other hospitals' maps, the names of the reference, everyday words, likeness (docs/domain/codes.md).

A wrong suggestion is worse than none: a text that may name two organisms, deny one, or name a combination of which only a part is known
gets none. ``tests/unit/test_suggestions.py`` holds the precision.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from estuaire.base.errors import ContractError, EstuaireError
from estuaire.contract.codes import CodeSystem, code_systems
from estuaire.contract.registry import Registry, read_code_map
from estuaire.stewardship import suggested_drugs, suggested_organisms
from estuaire.stewardship.reference_names import normal_name, seed_names

_FUZZY = 0.86  # below this ratio of difflib, two names are not alike
_SHORTEST_NAME = 4
_TOLD_BY_ITSELF = 7  # a number of so many digits (UCD, CIP) is no hospital's running number


class CodeRefused(EstuaireError):
    """A line that may not enter a code map: unknown system, code that is not standard, code mapped already."""

    code = "E_CODE_MAP"


@dataclass(frozen=True)
class Suggestion:
    """A standard code, how it was found, and a score from 0 to 1 that orders suggestions (not a probability)."""

    standard_code: str
    score: float
    how: str


def find_system(name: str) -> CodeSystem:
    """Raises CodeRefused, with the names there are."""
    try:
        return code_systems()[name]
    except KeyError:
        raise CodeRefused(
            f"there is no code system named '{name}'", remedy=f"name one of: {', '.join(code_systems())}"
        ) from None


def standard_codes(system: str, search: str = "") -> list[tuple[str, list[str]]]:
    """(standard code, its names) of a system in order of codes, or those of which the code or a name holds ``search``.

    Of a system that is a pattern, only the codes that have a name in the reference.
    """
    named: defaultdict[str, list[str]] = defaultdict(list)
    for name, codes in seed_names(system).items():
        for code in codes:
            named[code].append(name)
    wanted = normal_name(search)
    return [
        (code, sorted(named[code], key=lambda name: (-len(name), name)))
        for code in sorted({*code_systems()[system].values, *named})
        if not wanted or wanted in normal_name(code) or any(wanted in name for name in named[code])
    ]


@lru_cache(maxsize=8)
def _other_maps(registry: Registry, system: str) -> dict[str, dict[str, str]]:
    """Normal form of a local code -> hospital -> standard code, from every hospital's code map of the system."""
    codes = code_systems()[system]
    standards_by_code: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for hospital in registry.hospitals.values():
        path = hospital.code_maps.get(system)
        try:
            code_map = read_code_map(path) if path else {}
        except ContractError:
            continue  # its own hospital is held back for it; the others lose no more than its suggestions
        for local, standard in code_map.items():
            if codes.is_standard(standard):
                standards_by_code[codes.normal(local)][hospital.id] = standard
    return dict(standards_by_code)


def forget() -> None:
    """Read the hospitals' maps again: one of them was changed."""
    _other_maps.cache_clear()


def _from_maps(registry: Registry, codes: CodeSystem, local: str, without: frozenset[str]) -> Iterator[Suggestion]:
    votes = {
        h: s for h, s in _other_maps(registry, codes.name).get(codes.normal(local), {}).items() if h not in without
    }
    # a short number is each laboratory's own: that another one uses it too says little, until several agree
    number = codes.normal(local).isdigit() and len(local.strip()) < _TOLD_BY_ITSELF
    for standard, count in Counter(votes.values()).most_common():
        base_score = min(0.5 + 0.1 * count, 0.9) if number else 0.95
        named = ", ".join(sorted(h for h, s in votes.items() if s == standard)[:5])
        yield Suggestion(standard, round(base_score * count / len(votes), 2), f"same local code in the map of {named}")


def _from_names(codes: CodeSystem, local: str) -> Iterator[Suggestion]:
    squeezed = re.sub(r"[^0-9A-Za-z]", "", local).upper()
    if codes.pattern and codes.is_standard(squeezed):
        yield Suggestion(squeezed, 0.9, "standard code but for its punctuation")
        return
    if normal_name(local).replace(" ", "").isdigit():
        return
    if codes.name == "organism":
        candidates = suggested_organisms.candidates(local)
    elif codes.name in ("antimicrobial_agent", "drug"):
        candidates = suggested_drugs.candidates(codes.name, local)
    else:
        candidates = _from_short_list(codes, local)
    for standard, score, how in candidates:
        yield Suggestion(standard, score, how)


def _from_short_list(codes: CodeSystem, local: str) -> Iterator[tuple[str, float, str]]:
    """Of a system whose names are its codes: as it stands, else alike, else the one code within the text."""
    names, text = seed_names(codes.name), normal_name(local)
    exact = names.get(text, frozenset())
    for standard in sorted(exact):
        yield standard, round(0.95 / len(exact), 2), f"name '{text}' of the reference"
    if exact or len(text) < _SHORTEST_NAME:
        return
    alike = difflib.get_close_matches(text, names, n=2, cutoff=_FUZZY)
    for name in alike:
        ratio = difflib.SequenceMatcher(None, text, name).ratio()
        for standard in sorted(names[name]):
            yield standard, round(0.8 * ratio / len(names[name]), 2), f"name '{name}' is alike"
    within = [n for n in names if len(n) >= _SHORTEST_NAME and f" {n} " in f" {text} "]
    if not alike and len(within) == 1:
        for standard in sorted(names[within[0]]):
            yield standard, round(0.6 / len(names[within[0]]), 2), f"contains the name '{within[0]}'"


def suggest(
    registry: Registry, system: str, local: str, *, without: frozenset[str] = frozenset(), most: int = 3
) -> list[Suggestion]:
    """Standard codes that ``local`` may mean, best first, one each.

    Args:
        without: hospitals whose maps are not asked (those that lack the code).
    """
    codes = code_systems()[system]
    best: dict[str, Suggestion] = {}
    for suggestion in (*_from_maps(registry, codes, local, without), *_from_names(codes, local)):
        if suggestion.standard_code not in best or best[suggestion.standard_code].score < suggestion.score:
            best[suggestion.standard_code] = suggestion
    return sorted(best.values(), key=lambda s: (-s.score, s.standard_code))[:most]
