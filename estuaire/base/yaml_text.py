"""YAML, read by libyaml where that is safe: the loader in Python takes ten times as long, and each process reads some hundred files."""

from __future__ import annotations

import re
from typing import Any

import yaml

_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NESTS = re.compile(r"[\[{?-]")
# Characters: libyaml's composer has no limit of its own, and ends the process where a text nests some ten thousand levels deep.
_DEEPEST, _LONGEST = 4_000, 500_000


def read(text: str) -> Any:
    """What ``yaml.safe_load`` gives, and its errors.

    Raises:
        yaml.YAMLError: no YAML.
    """
    if len(text) <= _LONGEST and len(_NESTS.findall(text)) <= _DEEPEST:
        try:
            return yaml.load(text, Loader=_FAST)  # noqa: S506 - one of the two safe loaders
        except yaml.YAMLError:
            pass  # the loader in Python names the place
    return yaml.safe_load(text)
