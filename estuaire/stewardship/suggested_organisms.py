"""The organism that a laboratory's text names.

The order is that of trust: a name or an everyday word as it stands; the same without what does not change the organism (BLSE, SARM, sp.,
a serogroup); an abbreviated genus with a species; a laboratory code; a name alike, word by word; a binomial within a longer text.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import pairwise

from estuaire.stewardship.reference_names import NAMES, accepted_organisms, normal_name, rows, seed, seed_names, words

_SYSTEM = "organism"
_SIGNS = (
    (re.compile(r"(?i)\b(coag\w*|gram)\.?\s*(?:-|–|\(-\)|n[ée]g\w*)(?![0-9])\s*"), r"\1 negative "),
    (re.compile(r"(?i)\b(coag\w*|gram)\.?\s*(?:\+|\(\+\)|pos\w*)\s*"), r"\1 positive "),
    (re.compile(r"(?i)\b(?:s[ée]rogroupe|s[ée]rotype|s[ée]rovar|biotype)\s+\w+"), " "),
)
_TWO = re.compile(r"[^\W\d_]\.?\s*(?:\+|&|/|;)\s*[^\W\d_]")  # a sign that joins two words
# "à" and "d'" among them: as the last word of a text, a Lancefield group
_PARTICLES = frozenset(("a", "d", "de", "des", "du", "l", "la", "le", "les", "of", "the"))
_WORD_ALIKE, _NAME_ALIKE, _ONE_WORD_ALIKE = 0.8, 0.9, 0.88
_CLEAR = 0.03  # by so much the likest name must be liker than the next one
_SHORT = 6  # a single word below this length is alike to too much


def candidates(local: str) -> Iterator[tuple[str, float, str]]:
    """(organism code, score, how it was found) of a text, the surest way that finds any."""
    text = local
    for sign, written in _SIGNS:
        text = sign.sub(written, text)
    full = _canonical(normal_name(text))
    if not full:
        return
    exact = names().get(full, frozenset())
    if exact:
        yield from _told(exact, 0.95, f"name '{full}' of the reference")
        return
    code = re.sub(r"\s", "", local).lower()
    if code in laboratory_codes() and code not in _ignored():
        yield from _told(frozenset({laboratory_codes()[code]}), 0.7, f"laboratory code '{code}'")
        return
    tokens = full.split()
    if _TWO.search(local) or words(_SYSTEM, "refused").keys() & set(tokens):
        return
    core = [t for t in tokens if t not in _ignored() and not any(c.isdigit() for c in t)]
    while len(core) > 2 and core[-1] == core[-2]:
        core.pop()
    codes = names().get(" ".join(core), frozenset()) if core else frozenset()
    if codes:
        yield from _told(codes, 0.9, f"name '{' '.join(core)}' of the reference")
        return
    for way, how in ((_abbreviated, "abbreviated genus of"), (_alike, "alike to"), (_within, "contains")):
        near, score, name = way(core)
        if near:
            yield from _told(near, score, f"{how} '{name}'")
            return


def _told(codes: frozenset[str], score: float, how: str) -> Iterator[tuple[str, float, str]]:
    """Under the accepted name. A name that several organisms share tells none of them."""
    accepted = {accepted_organisms().get(c, c) for c in codes}
    if len(accepted) == 1:
        yield accepted.pop(), score, how


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 4 and word.endswith("s") else word


def _canonical(text: str) -> str:
    """Spellings of one word made one, plural and singular too; names and texts alike go through it."""
    written_for = words(_SYSTEM, "written_for")
    tokens = [written_for.get(t) or t for t in text.split()]
    return " ".join(_stem(t) for i, t in enumerate(tokens) if t not in _PARTICLES or i == len(tokens) - 1)


@lru_cache(maxsize=1)
def _ignored() -> frozenset[str]:
    return frozenset(_stem(w) for w in words(_SYSTEM, "ignored"))


@lru_cache(maxsize=1)
def names() -> dict[str, frozenset[str]]:
    """Canonical name -> organism codes."""
    codes_by_name: defaultdict[str, set[str]] = defaultdict(set)
    for name, codes in seed_names(_SYSTEM).items():
        codes_by_name[_canonical(name)] |= codes
    for row in rows(NAMES / "organisms.csv"):  # an everyday name means what its list says, whoever else it may suit
        codes_by_name[_canonical(row["name"])] = {row["organism_code"]}
    return {name: frozenset(codes) for name, codes in codes_by_name.items() if name}


@lru_cache(maxsize=1)
def laboratory_codes() -> dict[str, str]:
    """Code of laboratories' software, lower case -> organism code."""
    return {row["laboratory_code"]: row["organism_code"] for row in seed("laboratory_organism_code")}


@lru_cache(maxsize=1)
def _binomials() -> dict[str, dict[str, set[str]]]:
    """Canonical species epithet -> canonical genus -> codes."""
    genera_by_epithet: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in seed("organism"):
        if row["rank"] == "species" and row["species"]:
            genera_by_epithet[_stem(normal_name(row["species"]))][_stem(normal_name(row["genus"]))].add(
                row["organism_code"]
            )
    return {epithet: dict(genera) for epithet, genera in genera_by_epithet.items()}


_Match = tuple[frozenset[str], float, str]
_NONE: _Match = (frozenset(), 0.0, "")


def _abbreviated(core: list[str]) -> _Match:
    """``ps aeruginosa``, ``kleb pneumonie``: one species of that epithet, or one alike to it, has a genus that begins so."""
    if len(core) != 2:
        return _NONE
    begins, epithet = core
    exact = {c for genus, codes in _binomials().get(epithet, {}).items() if genus.startswith(begins) for c in codes}
    if exact:
        return frozenset(exact), 0.85, " ".join(core)
    if len(begins) < 2:
        return _NONE
    near = {
        (other, c)
        for other, genera in _binomials().items()
        if other[0] == epithet[0] and _ratio(epithet, other) >= _NAME_ALIKE
        for genus, codes in genera.items()
        if genus.startswith(begins)
        for c in codes
    }
    return frozenset(c for _, c in near), 0.7, ", ".join(sorted({other for other, _ in near}))


@lru_cache(maxsize=1)
def _by_shape() -> dict[tuple[int, str], list[str]]:
    """Names of full words by number of words and first letter: a likeness is looked for among these only."""
    names_by_shape: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
    for name in names():
        parts = name.split()
        if len(parts[0]) > 2:
            names_by_shape[len(parts), name[0]].append(name)
    return names_by_shape


def _alike(core: list[str]) -> _Match:
    """The name whose every word is alike, if no other organism's name is nearly as much so."""
    if not core or (len(core) == 1 and len(core[0]) < _SHORT):
        return _NONE
    least = _ONE_WORD_ALIKE if len(core) == 1 else _NAME_ALIKE
    scored = []
    for name in _by_shape().get((len(core), core[0][0]), ()):
        parts = name.split()
        if any(abs(len(a) - len(b)) > 2 or a[0] != b[0] for a, b in zip(core, parts, strict=True)):
            continue
        ratios = [_ratio(a, b) for a, b in zip(core, parts, strict=True)]
        mean = sum(ratios) / len(ratios)
        if min(ratios) >= _WORD_ALIKE and mean >= least:
            scored.append((mean, name))
    scored.sort(reverse=True)
    if not scored:
        return _NONE
    codes = names()[scored[0][1]]
    best = {accepted_organisms().get(c, c) for c in codes}
    for mean, name in scored[1:]:
        if mean > scored[0][0] - _CLEAR and not {accepted_organisms().get(c, c) for c in names()[name]} <= best:
            return _NONE
    return codes, round(0.85 * scored[0][0], 2), scored[0][1]


def _within(core: list[str]) -> _Match:
    """The one binomial among the words of a longer text."""
    binomials = {f"{a} {b}": codes for a, b in pairwise(core) if (codes := _binomials().get(b, {}).get(a)) is not None}
    if len(binomials) != 1:
        return _NONE
    [(name, codes)] = binomials.items()
    others = [t for t in core if t not in name.split()]
    genera = {genus for by_genus in _binomials().values() for genus in by_genus}
    if len(others) > 3 or genera & set(others):
        return _NONE
    return frozenset(codes), 0.6, name


def _ratio(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()
