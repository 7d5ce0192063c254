"""Data Docs of a stage run: Great Expectations' own pages, which load nothing from elsewhere.

Its templates ask for scripts, fonts and styles of five other hosts; offline the pages are blank. Here every such tag is left out
(the pages are read, not operated) and one stylesheet of ours, ``quality/data_docs.css``, written once, takes the place of theirs. The
pages hold counts (SUMMARY results without row values), rules and labels.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from estuaire.base import private_files
from estuaire.base.settings import Settings
from estuaire.base.texts import say

STYLE = Path(__file__).parent / "data_docs.css"
FOLDER = "quality"
_DROPPED = re.compile(
    r"<script\b.*?</script>|<script\b[^>]*/>|<link\b[^>]*>|<img\b[^>]*>|<nav class=\"navbar navbar-expand.*?</nav>\s*</div>\s*</nav>|"
    r"<style\b.*?</style>",
    re.DOTALL,
)
# the suite's page is not written: its expectations stand in the result
_LINKS = re.compile(r'<a\b[^>]*href="(?:\.\./|https?:|mailto:)[^"]*"[^>]*>(.*?)</a>', re.DOTALL)
_ICON = re.compile(r'<i class="([^"]*)"[^>]*></i>')
_FOOTER = re.compile(r"<footer\b.*?</footer>", re.DOTALL)


def folder(settings: Settings, run_id: str, stage: str) -> Path:
    """Where the pages of a stage run stand."""
    return settings.root / FOLDER / run_id / stage


def local_page(page: str, style: str) -> str:
    """A page of Great Expectations that loads nothing but the stylesheet ``style``.

    Args:
        style: the stylesheet's address as the page sees it.
    """
    kept = _LINKS.sub(r"\1", _FOOTER.sub("", _DROPPED.sub("", page)))
    kept = _ICON.sub(_sign, kept)
    return kept.replace("</head>", f'<link rel="stylesheet" href="{style}"></head>', 1)


def _sign(icon: re.Match[str]) -> str:
    classes = icon[1]
    if "success" in classes:
        return '<span class="text-success">✔</span>'
    return '<span class="text-danger">✘</span>' if "danger" in classes else '<span class="text-danger">!</span>'


def _labelled(page: str, labels: Mapping[str, str]) -> str:
    """The page with the names of the rules' columns in its text written as the rules' labels."""
    if not labels:
        return page
    names = "|".join(re.escape(n) for n in sorted(labels, key=len, reverse=True))
    # in text only: a name within a tag is followed by ">" before any "<"
    return re.sub(rf"\b({names})\b(?![^<>]*>)", lambda m: html.escape(labels[m[1]]), page)


def _both(key: str) -> str:
    """A message of ours in both languages, as these pages have no switch."""
    return " / ".join(say(language, f"docs.{key}") for language in ("en", "fr"))


def write(settings: Settings, run_id: str, stage: str, results: Mapping[str, Any]) -> Path | None:
    """Write a page per suite and an index; the index's path, or None without results.

    Args:
        results: entity -> validation result of its suite.
    """
    if not results:
        return None
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    place = folder(settings, run_id, stage)
    top = settings.root / FOLDER
    private_files.closed_folder(top)  # like the reports: these pages are not for every account of the machine
    place.mkdir(parents=True, exist_ok=True)
    (settings.root / FOLDER / STYLE.name).write_bytes(STYLE.read_bytes())
    style = f"../../{STYLE.name}"
    renderer, view = ValidationResultsPageRenderer(), DefaultJinjaPageView()
    rows = []
    for name, result in sorted(results.items()):
        labels = {
            r.expectation_config.kwargs["column"]: r.expectation_config.meta["label"]
            for r in result.results
            if "label" in r.expectation_config.meta
        }
        page = _labelled(local_page(view.render(renderer.render(result)), style), labels)
        (place / f"{name}.html").write_text(page, encoding="utf-8")
        evaluated = len(result.results)
        failed = sum(not r.success for r in result.results)
        rows.append(
            f'<tr><td><a href="{html.escape(name)}.html">{html.escape(name)}</a></td><td>{evaluated}</td><td>{failed}</td></tr>'
        )
    index = place / "index.html"
    index.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(stage)}</title>'
        f'<link rel="stylesheet" href="{style}"></head><body><div class="container-fluid"><h4>Data Docs: {html.escape(stage)}</h4>'
        f"<p>{html.escape(run_id)}. {_both('about')}</p>"
        f'<table class="table"><thead><tr><th>suite</th><th>{_both("rules")}</th><th>{_both("unmet")}</th></tr></thead><tbody>'
        + "".join(rows)
        + "</tbody></table></div></body></html>",
        encoding="utf-8",
    )
    return index
