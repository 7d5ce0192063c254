"""A document held against its JSON schema. ``jsonschema.validate`` checks the schema itself every time, which takes longer than the document."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema


def validate(document: Any, schema: Path) -> None:
    """As ``jsonschema.validate``.

    Raises:
        jsonschema.ValidationError: the error that says most.
    """
    wrong = jsonschema.exceptions.best_match(_validator(schema.read_text(encoding="utf-8")).iter_errors(document))
    if wrong is not None:
        raise wrong


@lru_cache(maxsize=8)
def _validator(text: str) -> Any:
    """By the schema's text: another text is another validator."""
    schema = json.loads(text)
    kind: Any = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    return kind(schema)
