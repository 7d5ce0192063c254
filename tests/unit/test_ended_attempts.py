"""What failed attempts left is swept by age, never by doubt."""

from __future__ import annotations

import pytest

from estuaire.storage.ended_attempts import Attempt, left_over

KNOWN = [
    Attempt("ingest-1", "land", 3, over=True), Attempt("ingest-2", "land", 5, over=False),
    Attempt("ingest-2-5", "land", 1, over=True), Attempt("curate-1", "consolidate", 4, over=True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "over"),
    [
        ("ingest-1-3-2025-12-delta-0.parquet", True),
        ("h01-ingest-1-3-2025-12-delta-0.parquet", True),  # below work/
        ("curate-1-4.parquet", True),
        ("curate-1-44.parquet", False),
        ("ingest-1-33-d1-0.parquet", False),
        ("ingest-2-5-d1-0.parquet", False),  # may still be writing
        ("ingest-2-5-1-d1-0.parquet", False),  # of either of two attempts, one of which goes on
        ("somebody's.parquet", False),
    ],
)
def test_only_what_bears_the_name_of_attempts_that_are_over(name: str, over: bool) -> None:
    assert left_over(name, KNOWN) == over
