"""The analysts' standard queries as their file holds them: name, what each answers in both languages, statement."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parents[1] / "docs" / "analysts" / "standard_queries.sql"
_HEAD = re.compile(r"^-- name: (\w+)\n-- fr: (.+)\n-- en: (.+)\n", re.MULTILINE)


@dataclass(frozen=True)
class StandardQuery:
    name: str
    fr: str
    en: str
    statement: str


def standard_queries() -> list[StandardQuery]:
    """Every query of the file, in its order; ``statement`` is one statement without its semicolon."""
    parts = _HEAD.split(FILE.read_text(encoding="utf-8"))[1:]
    return [
        StandardQuery(name, fr, en, statement.strip().removesuffix(";"))
        for name, fr, en, statement in zip(parts[::4], parts[1::4], parts[2::4], parts[3::4], strict=True)
    ]
