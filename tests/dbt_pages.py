"""What a models' page holds."""

from __future__ import annotations

import json
from typing import Any

from estuaire.warehouse import dbt_page


def page_manifest(page: str) -> dict[str, Any]:
    """The manifest that a page holds."""
    before, after = dbt_page.template().split('"MANIFEST.JSON INLINE DATA"')
    head, tail = before[-60:], after[:9]
    begin = page.index(head) + len(head)
    found, end = json.JSONDecoder().raw_decode(page[begin:])
    assert page[begin + end :].startswith(tail)
    return found  # type: ignore[no-any-return]
