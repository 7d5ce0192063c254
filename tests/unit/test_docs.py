"""The pages that people read: what code cites is there, and what stands in one language stands in the other."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from estuaire.base import texts
from estuaire.base.settings import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"
_TEXT = {".py", ".sql", ".yml", ".yaml", ".md", ".j2", ".toml", ".csv", ".sh", ".json", ""}
# a page of docs/ as code cites it, from the project's root
_CITED = re.compile(r"\bdocs/[\w./-]+?\.(?:md|html)\b")
# the file that the founders share stands outside the project: what it says stands in docs/domain/
_BARE = re.compile(r"(?<![\w/])domain\.md\b")


def _files() -> list[Path]:
    """Every text file that git holds, or would."""
    done = subprocess.run(
        ["git", "-C", str(PROJECT_ROOT), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    paths = [PROJECT_ROOT / name for name in done.stdout.splitlines()]
    return [p for p in paths if p.suffix in _TEXT and p.is_file() and p != Path(__file__)]


def _lines(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    return [
        (f"{path.relative_to(PROJECT_ROOT)}:{number}", match[0])
        for path in _files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for match in pattern.finditer(line)
    ]


def test_every_page_that_code_cites_is_there() -> None:
    cited = _lines(_CITED)
    assert len(cited) > 20
    missing = [(where, page) for where, page in cited if not (PROJECT_ROOT / page).is_file()]
    assert [m for m in missing if not m[0].startswith("tests/report/test_serving.py")] == []


def test_nothing_cites_a_page_that_the_project_does_not_hold() -> None:
    assert _lines(_BARE) == []


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda p: str(p.relative_to(DOCS)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    broken = [to for to in links if "://" not in to and not (page.parent / to).exists()]
    assert broken == []


@pytest.mark.parametrize("page", sorted((DOCS / "domain").glob("*.md")), ids=lambda p: p.name)
def test_a_rules_page_names_what_implements_and_proves_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:estuaire|spark_jobs|dbt_project|tests|expectations|infra)/[\w./-]+)`", text))
    assert [n for n in sorted(named) if not (PROJECT_ROOT / n).exists()] == []
    if page.name != "README.md":
        assert "**Implemented by**" in text
        assert "**Proved by**" in text
        assert any(n.startswith(("tests/", "dbt_project/")) for n in named)
        assert page.name in (DOCS / "domain" / "README.md").read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------ two languages

# words that stand in commands and paths, as each language writes them
_WORDS = {
    "DOSSIER": "FOLDER", "TEXTE": "TEXT", "SYSTÈME": "SYSTEM", "NOM": "NAME", "<suite>": "<anything>", "<nom libre>": "<anything>",
    "<livraison>": "<delivery>", "<fichier brut>": "<raw file>", "<nomenclature>": "<system>",
    "[premier jour, lendemain du dernier)": "[first day, day after the last)",
}  # fmt: skip
_PAIRS = (
    (DOCS / "hospitals" / "onboarding.en.md", DOCS / "hospitals" / "onboarding.fr.md"),
    (DOCS / "hospitals" / "package.en.md", DOCS / "hospitals" / "package.fr.md"),
)


def _sections(page: Path) -> list[dict[str, object]]:
    """Per heading what both languages write alike: its level, rows of tables, items of lists, commands, code, placeholders, figures."""
    text = page.read_text(encoding="utf-8")
    for french, english in _WORDS.items():
        text = text.replace(french, english)
    text = re.sub(r"(?ms)^```.*?^```$", "[block]", text)
    found: list[dict[str, object]] = []
    for prose in re.split(r"(?m)^(?=#{1,4} )", text):
        spans = re.findall(r"`[^`]+`", re.sub(r"\{[{%].*?[%}]\}", "_", prose).replace("\n", " "))
        found.append(
            {
                "level": len(prose) - len(prose.lstrip("#")),
                "rows": len(re.findall(r"(?m)^\|", prose)),
                "items": len(re.findall(r"(?m)^(?:- |\d+\. )", prose)),
                "blocks": prose.count("[block]"),
                "commands": re.findall(r"(?m)^    (\S.*?)(?:\s+#.*)?$", prose),
                "code": Counter(re.sub(r" +", " ", s.strip("`")) for s in spans),
                "placeholders": Counter(re.sub(r'"[^"]*"', '""', p) for p in re.findall(r"\{[{%].*?[%}]\}", prose)),
                # 1,336 and 1 336 are one figure; a decimal comma is a point
                "figures": Counter(
                    re.sub(r"(?<=\d)[,\u00a0\u202f ](?=\d{3}\b)", "", n).replace(",", ".")
                    for n in re.findall(
                        r"\d+(?:[,.\u00a0\u202f ]\d{3}\b)*(?:[.,]\d+)?", re.sub(r"`[^`\n]+`", "", prose)
                    )
                ),
            }
        )
    return found


def test_the_guides_messages_have_the_same_code_and_figures(tmp_path: Path) -> None:
    """Their sections are one template."""
    for language in ("en", "fr"):
        entries = texts.source(language).read_text(encoding="utf-8").split("\n\n")
        # formats of dates, which each language writes in its letters, and the sign of a decimal, stand apart
        own = [e for e in entries if e.startswith('msgid "guide.') and not e.startswith('msgid "guide.mark_')]
        assert len(own) > 80
        told = [re.sub(r'"\n"|^msgid .*\n', "", e).replace('\\"', '"').replace("\\n", " ") for e in own]
        (tmp_path / language).write_text("\n".join(f"## {i}\n{e}" for i, e in enumerate(told)), encoding="utf-8")
    test_both_languages_have_the_same_sections_code_and_figures(tmp_path / "en", tmp_path / "fr")


@pytest.mark.parametrize(("english", "french"), _PAIRS, ids=lambda p: p.name)
def test_both_languages_have_the_same_sections_code_and_figures(english: Path, french: Path) -> None:
    """A sentence that names a command, a file, a table or a figure stands in both."""
    one, other = _sections(english), _sections(french)
    assert [s["level"] for s in one] == [s["level"] for s in other]
    for number, (en, fr) in enumerate(zip(one, other, strict=True)):
        different = {k: (en[k], fr[k]) for k in en if en[k] != fr[k]}
        assert different == {}, f"section {number} of {english.name}"
