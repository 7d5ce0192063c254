"""C27, C28: what a full delivery that is cut, or empty, would end. The whole way, with C27b: tests/integration/test_full_held.py."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from one_file import land

from estuaire.contract.registry import load_registry
from estuaire.contract.tables import load_contract
from estuaire.deliveries import confirmation
from estuaire.kernel.consolidate import Full, HospitalInput, ended_by

PERIOD = (date(2020, 1, 1), date(2026, 1, 1))
DEFAULT: Any = SimpleNamespace(full_may_end=0.2, full_may_end_by_table={})

STAYS = (
    "NDA;IPP;previous_stay_id;DATE_ENTREE;DATE_SORTIE;stay_type;entry_mode;exit_mode;legal_finess;geographic_finess\n"
    "900;77;;10/03/2025 14:05;17/03/2025 11:00;HC;8;8;;\n"
    "901;78;;11/03/2025 14:05;18/03/2025 11:00;HC;8;8;;\n"
)
DOSES = "administration_id;IPP;NDA;drug_code;drug_label;dose;dose_unit;route;given_at;status\n"


def _weighed(folder: Path, table: str, first: bytes, second: bytes) -> dict[str, tuple[int, int]]:
    """What the second full delivery of a table ends of the first."""
    files = []
    for sequence, data in enumerate((first, second), start=1):
        landed = land(
            folder,
            table,
            data,
            hospital=load_registry().get("h01"),
            delivery=f"d{sequence}",
            sequence=sequence,
            kind="full",
            rows=max(0, len(data.splitlines()) - 1),
        )
        assert landed.error is None
        files.append({table: [landed.outcome.output]} if landed.outcome.output else {})
    fulls = [Full(n, *PERIOD, (table,)) for n in (1, 2)]
    standing = HospitalInput(load_registry().get("h01"), files[0], fulls[:1])
    return ended_by(standing, fulls[1], files[1], [], load_contract())


def test_c28_a_full_cut_at_a_record_waits(tmp_path: Path, case_input: Callable[..., bytes]) -> None:
    whole = case_input("C28-full-cut-at-a-record", "full_1.csv", STAYS)
    cut = case_input("C28-full-cut-at-a-record", "full_2.csv", "".join(STAYS.splitlines(keepends=True)[:2]))
    ends = _weighed(tmp_path, "stay", whole, cut)
    assert ends == {"stay": (1, 2)}
    assert confirmation.too_many(DEFAULT, ends) == ["stay"]
    assert confirmation.too_many(DEFAULT, _weighed(tmp_path, "stay", whole, whole)) == []


@pytest.mark.parametrize("doses", [1, 5])
def test_c27_a_full_with_a_header_alone_waits(tmp_path: Path, case_input: Callable[..., bytes], doses: int) -> None:
    empty = case_input("C27-header-only-full", "administration.csv", DOSES)
    rows = "".join(f"A{n};77;900;J01DD04;;1;g;IV;16/03/2025 08:00;F\n" for n in range(doses))
    ends = _weighed(tmp_path, "administration", (DOSES + rows).encode(), empty)
    assert ends == {"administration": (doses, doses)}
    assert confirmation.too_many(DEFAULT, ends) == ["administration"]
