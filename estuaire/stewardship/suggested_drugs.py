"""The antibacterial that a laboratory's or a pharmacy's text names: an agent tested, or an ATC code.

A text is read word by word into substances; several of them are a combination only where the reference holds just that combination, and
a combination is never told by one of its parts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from difflib import SequenceMatcher
from functools import lru_cache

from estuaire.contract.codes import code_systems
from estuaire.stewardship.reference_names import NAMES, normal_name, rows, seed, seed_names, words

_LONGEST = 4  # words of a name
_ALIKE, _BRAND_ALIKE = 0.87, 0.92  # an invented name has neighbours that mean something else ("vaccine", "vancocine")
_CLEAR, _SHORT = 0.04, 6
_JOIN = re.compile(r"([^\W\d_]\.?)\s*(?:\+|/|&|-)\s*(?=[^\W\d_])")  # a sign that joins two words
_DOSE = re.compile(r"^[0-9]+[a-z]*$")


def candidates(system: str, local: str) -> Iterator[tuple[str, float, str]]:
    """(standard code of ``antimicrobial_agent`` or ``drug``, score, how it was found) of a text."""
    text = normal_name(local)
    if not text:
        return
    exact = seed_names(system).get(text, frozenset())
    tokens = text.split()
    if exact:
        yield from _routed(system, exact, tokens, 0.95, f"name '{text}' of the reference")
        return
    refused = words("antimicrobial" if system == "antimicrobial_agent" else "drug", "refused")
    if refused.keys() & set(tokens) or ("%" in local and "gel" in tokens):
        return
    substances, unread, alike = _read(system, tokens)
    if not substances:
        return
    unread = [t for t in unread if not _DOSE.match(t) and t not in words("antimicrobial", "ignored")]
    if unread and system == "antimicrobial_agent":
        return
    if _joined(local) & set(unread):
        return  # "X / amoxicillin": a part of a combination is not known
    codes = _meant(system, substances)
    name = " + ".join(sorted(substances))
    score = 0.75 if alike else 0.9 if not unread else 0.85
    yield from _routed(system, codes, tokens, score, f"alike to '{alike}'" if alike else f"reads as {name}")


def _joined(local: str) -> set[str]:
    """The words beside a sign that joins two of them."""
    marked = _JOIN.sub(r"\1 joins ", local)
    tokens = normal_name(marked).split()
    return {
        w for i, t in enumerate(tokens) if t == "joins" for w in (*tokens[max(i - 1, 0) : i], *tokens[i + 1 : i + 2])
    }


def _meant(system: str, substances: frozenset[str]) -> frozenset[str]:
    """Codes of one substance, or of the combination of just these."""
    if len(substances) == 1:
        [only] = substances
        agents = frozenset({only}) if only in _agents() - _parts_only() else frozenset()
    else:
        agents = combinations().get(substances, frozenset())
    if system == "antimicrobial_agent":
        return agents
    return frozenset(atc for a in agents for atc in _atc_codes().get(a, ()))


def _routed(
    system: str, codes: frozenset[str], tokens: list[str], score: float, how: str
) -> Iterator[tuple[str, float, str]]:
    """One code, or the codes of the route that the text names; of an unnamed route the systemic one first."""
    if system == "drug" and len(codes) > 1:
        oral, parenteral = (words("drug", kind).keys() & set(tokens) for kind in ("oral", "parenteral"))
        if bool(oral) != bool(parenteral):
            local = {c for c in codes if c.startswith(("A07AA", "P01AB"))}
            by_route = local if oral else codes - local
            if len(by_route) == 1:
                yield next(iter(by_route)), score, f"{how}, {'by mouth' if oral else 'by injection'}"
                return
        for rank, code in enumerate(sorted(codes, key=lambda c: (not c.startswith("J01"), c))):
            yield code, round(score * 0.6 - 0.01 * rank, 2), f"{how}, whose code depends on the route"
        return
    if len(codes) == 1:
        yield next(iter(codes)), score, how


@lru_cache(maxsize=1)
def _agents() -> frozenset[str]:
    return frozenset(code_systems()["antimicrobial_agent"].values)


@lru_cache(maxsize=1)
def _parts_only() -> frozenset[str]:
    """Agents that stand in combinations only: "tazo" alone may be short for the whole."""
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows(NAMES / "antimicrobials.csv"):
        kinds[row["agent_code"]].add(row["kind"])
    return frozenset(code for code, held in kinds.items() if held == {"component"})


@lru_cache(maxsize=1)
def _atc_codes() -> dict[str, frozenset[str]]:
    """Agent -> its ATC codes: those that have a French name where any has one (neomycin is given by mouth alone)."""
    held_by: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for row in seed("antimicrobial"):
        if row["ab"]:
            held_by[row["ab"]].append(row)
    codes_by_agent: defaultdict[str, set[str]] = defaultdict(set)
    for agent, seed_rows in held_by.items():
        codes_by_agent[agent] = {r["atc"] for r in seed_rows if r["name_fr"]} or {r["atc"] for r in seed_rows}
    held: set[str] = set().union(*codes_by_agent.values())
    for row in seed("antimicrobial_agent"):  # an oral ester has the code of its cephalosporin
        if row["agent_code"] not in codes_by_agent and row["atc"] in held:
            codes_by_agent[row["agent_code"]].add(row["atc"])
    return {agent: frozenset(codes) for agent, codes in codes_by_agent.items()}


@lru_cache(maxsize=1)
def names() -> dict[str, str]:
    """Normal name -> substance: an agent's code, or the name of what stands in combinations only; empty for a salt."""
    substance_by_name: dict[str, str] = {}
    for row in seed("antimicrobial_agent"):
        if row["class"] != "Other":
            substance_by_name[normal_name(row["name"])] = row["agent_code"]
    for row in seed("antimicrobial"):
        if row["ab"] in _agents() and row["name_fr"]:
            substance_by_name.setdefault(normal_name(row["name_fr"]), row["ab"])
    # French INNs end in -ine where the English ones end in -in
    substance_by_name.update(
        {
            f"{name}e": agent
            for name, agent in substance_by_name.items()
            if name.endswith("in") and f"{name}e" not in substance_by_name
        }
    )
    for row in rows(NAMES / "antimicrobials.csv"):
        substance_by_name[row["name"]] = row["agent_code"]
    return substance_by_name


@lru_cache(maxsize=1)
def combinations() -> dict[frozenset[str], frozenset[str]]:
    """Substances -> the agents that combine just these, as the seed's names tell ("Amoxicillin/clavulanic acid")."""
    agents_by_parts: defaultdict[frozenset[str], set[str]] = defaultdict(set)
    single = {normal_name(r["name"]): r["agent_code"] for r in seed("antimicrobial_agent") if "/" not in r["name"]}
    for row in seed("antimicrobial_agent"):
        parts = [normal_name(p) for p in row["name"].split("/")]
        if len(parts) > 1:
            agents_by_parts[frozenset(single.get(p, p) for p in parts)].add(row["agent_code"])
    # "sulfamides + triméthoprime" is the one that is used, whatever sulfonamide it names
    agents_by_parts[frozenset({"sulfonamide", "TMP"})] = {"SXT"}
    return {parts: frozenset(agents) for parts, agents in agents_by_parts.items()}


def _read(system: str, tokens: list[str]) -> tuple[frozenset[str], list[str], str]:
    """(substances, words that are no name, the name that a misspelt word was read as), the longest name first."""
    substances: set[str] = set()
    unread: list[str] = []
    alike = ""
    at = 0
    while at < len(tokens):
        for length in range(min(_LONGEST, len(tokens) - at), 0, -1):
            name = " ".join(tokens[at : at + length])
            if name in names() and (len(name) > 2 or length == len(tokens)):
                if names()[name]:
                    substances.add(names()[name])
                at += length
                break
        else:
            word = tokens[at]
            near = (
                _near(word) if not words(system if system == "drug" else "antimicrobial", "ignored").get(word) else ""
            )
            if near:
                substances.add(names()[near])
                alike = near
            else:
                unread.append(word)
            at += 1
    parts = {p for agent in substances for p in _parts().get(agent, ())} if len(substances) > 1 else set()
    # "TAZOCILLINE (piperacilline/tazobactam)": the parts of a combination that is named, too
    substances -= {s for s in substances if s in parts}
    return frozenset(substances), unread, alike


@lru_cache(maxsize=1)
def _parts() -> dict[str, frozenset[str]]:
    return {agent: parts for parts, agents in combinations().items() for agent in agents}


@lru_cache(maxsize=1)
def _in_use() -> dict[str, float]:
    """Names in use that a misspelt word may mean -> the least likeness; what few test or give is to be named right."""
    likeness_by_name: dict[str, float] = {}
    for row in seed("antimicrobial"):
        if row["ab"] in _agents() and row["name_fr"]:
            likeness_by_name |= dict.fromkeys((normal_name(row["name_fr"]), normal_name(row["name_en"])), _ALIKE)
    for row in rows(NAMES / "antimicrobials.csv"):
        if row["kind"] in ("name", "brand"):
            likeness_by_name[row["name"]] = _ALIKE if row["kind"] == "name" else _BRAND_ALIKE
    return likeness_by_name


@lru_cache(maxsize=4096)
def _near(word: str) -> str:
    """The name of a substance that a misspelt word is alike to, if no other substance's is nearly as much so."""
    if len(word) < _SHORT or any(c.isdigit() for c in word):
        return ""
    alike = sorted(
        (
            (SequenceMatcher(None, word, name).ratio(), name)
            for name in names()
            if name[0] == word[0] and " " not in name and len(name) >= _SHORT and abs(len(name) - len(word)) <= 2
        ),
        reverse=True,
    )
    ratio, best = alike[0] if alike else (0.0, "")
    if ratio < _in_use().get(best, 1.1):
        return ""
    if any(r > ratio - _CLEAR and names()[n] != names()[best] for r, n in alike[1:]):
        return ""
    return best
