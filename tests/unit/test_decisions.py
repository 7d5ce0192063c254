"""Every decision says whether it stands and since when, and the list of decisions says the same."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from estuaire.base.settings import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "docs" / "decisions"
_NAME = re.compile(r"\d{4}-[a-z0-9-]+\.md")
_STATUS = re.compile(
    r"\*\*Status\.\*\* (Proposed|Accepted|Superseded by \[\d+\]\(\d{4}-[\w-]+\.md\)|Withdrawn), (\d{4}-\d{2}-\d{2})(?:\.|; .+\.)"
)
_LISTED = re.compile(r"^\| \[(\d+)\]\((\S+)\) \| (.+) \| ([^|]+) \| (\S+) \|$", re.MULTILINE)


def status(text: str) -> tuple[str, date]:
    """Whether a decision stands, in lower case, and the day on which it was taken.

    Raises:
        ValueError: its third line says neither, or names a day that there is not.
    """
    lines = text.splitlines()
    found = _STATUS.fullmatch(lines[2]) if len(lines) > 2 else None
    if found is None:
        raise ValueError("the third line is no status with a date")
    return re.sub(r" \[.*", "", found[1]).lower(), date.fromisoformat(found[2])


def decisions() -> list[Path]:
    return sorted(p for p in FOLDER.glob("*.md") if p.name != "README.md")


def test_numbers_are_in_a_row() -> None:
    assert [p.name for p in decisions() if not _NAME.fullmatch(p.name)] == []
    assert [int(p.name[:4]) for p in decisions()] == list(range(1, len(decisions()) + 1))
    assert len(decisions()) >= 23


@pytest.mark.parametrize("page", decisions(), ids=lambda p: p.stem)
def test_a_decision_has_its_number_a_status_and_a_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    title = re.match(r"# (\d+)(?:\.|:| —) \S", text)
    assert title is not None
    assert int(title[1]) == int(page.name[:4])
    assert date(2026, 1, 1) < status(text)[1]


def test_the_list_says_the_same() -> None:
    listed = {
        name: (int(number), state, date.fromisoformat(day))
        for number, name, _, state, day in _LISTED.findall((FOLDER / "README.md").read_text(encoding="utf-8"))
    }
    told = {p.name: (int(p.name[:4]), *status(p.read_text(encoding="utf-8"))) for p in decisions()}
    assert listed == told


@pytest.mark.parametrize(
    "line",
    [
        "**Context.** Why.",
        "**Status.** Accepted.",
        "**Status.** Accepted, 2026-13-01.",
        "**Status.** Liked, 2026-11-30.",
    ],
)
def test_a_decision_without_either_is_found(line: str) -> None:
    with pytest.raises(ValueError, match=r"status|month"):
        status(f"# 1. Title\n\n{line}\n")
