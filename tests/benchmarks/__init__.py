"""Benchmarks (`make bench`). They use helper modules of the tests, which pytest finds by pyproject.toml's pythonpath."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("", "compose", "dbt", "s3")]
