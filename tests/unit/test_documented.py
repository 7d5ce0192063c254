"""Every setting is on the page where an engineer looks for it."""

from __future__ import annotations

import re

from estuaire.base.settings import PROJECT_ROOT, Settings

PAGES = PROJECT_ROOT / "docs" / "engineers"


def test_every_setting_has_its_line_and_no_other_is_named() -> None:
    page = (PAGES / "configure.md").read_text(encoding="utf-8")
    alerts = (PAGES / "alerts.md").read_text(encoding="utf-8")
    lines = [line.split("|")[1] for text in (page, alerts) for line in text.splitlines() if line.startswith("| `")]
    named = {name for cell in lines for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", cell)}
    assert {name.upper() for name in Settings.model_fields} <= named
    others = {name for name in named if name.startswith("E_")} | {"ESTUAIRE_"}  # codes of errors; the prefix
    assert named - others <= {name.upper() for name in Settings.model_fields}
