"""Unmapped drugs that name an antibacterial: of a hundred unmapped drugs most cost no figure, and these do (docs/domain/codes.md)."""

from __future__ import annotations

import csv
import re
import unicodedata
from functools import lru_cache

import duckdb

from estuaire.base.sql import Sql
from estuaire.contract.codes import SEEDS
from estuaire.storage.duck import relation

FLAG = "administration.drug_code.antibacterial"
_SHORTEST_NAME = 4


def _words(text: str) -> tuple[str, ...]:
    """Words without case and accents."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return tuple(re.findall(r"[a-z0-9]+", "".join(c for c in plain if not unicodedata.combining(c))))


@lru_cache(maxsize=1)
def _names() -> dict[str, frozenset[tuple[str, ...]]]:
    """First word -> names of antibacterials, English and French, of the reference seed."""
    by_first_word: dict[str, set[tuple[str, ...]]] = {}
    with (SEEDS / "antimicrobial.csv").open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            for words in (_words(row["name_en"]), _words(row["name_fr"])):
                if words and len("".join(words)) >= _SHORTEST_NAME:
                    by_first_word.setdefault(words[0], set()).add(words)
    return {first: frozenset(names) for first, names in by_first_word.items()}


def names() -> list[tuple[str, ...]]:
    """Every name that is looked for, in order."""
    return sorted(name for group in _names().values() for name in group)


def names_antibacterial(text: str) -> bool:
    """Whether the words of a code or label hold the name of an antibacterial, whole.

    >>> names_antibacterial("CEFTRIAXONE 1G PDR INJ"), names_antibacterial("Multivitamines"), names_antibacterial("pristinamycine 500")
    (True, False, True)
    """
    words, known = _words(text), _names()
    return any(
        words[i : i + len(name)] == name for i, word in enumerate(words) for name in known.get(word, frozenset())
    )


def find(connection: duckdb.DuckDBPyConnection, unmapped: Sql) -> None:
    """Temporary table ``antibacterial`` (drug_code, drug_label): drugs that no map knows, and that name an antibacterial.

    Args:
        unmapped: SQL of the drugs that no map knows, as code and label write them.
    """
    written = connection.execute(unmapped).fetchall()
    named = [pair for pair in written if any(names_antibacterial(text) for text in pair)]
    relation(connection, "antibacterial", {"drug_code": "varchar", "drug_label": "varchar"}, named)
