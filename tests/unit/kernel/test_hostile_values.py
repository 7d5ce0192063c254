"""Quotes in ids, paths, codes and keys pass through landing and consolidation as they are: nothing that was delivered is part of a statement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
from one_file import H01_ADMINISTRATION, land, lines

from estuaire.contract.registry import load_registry
from estuaire.contract.tables import load_contract
from estuaire.gates import consolidated as gate
from estuaire.kernel.consolidate import HospitalInput, Rejected, consolidate_hospital

ID, DELIVERY, FILE = "h'0\"1", "2025'10; --", 'it\'s "x".csv'
DRUG, LABEL = "'; drop table x; --", 'Ceftriaxone "1 g" it\'s'
DOSE = "it's-1"


def test_what_is_delivered_is_never_part_of_a_statement(tmp_path: Path) -> None:
    folder = tmp_path / 'o\'clock "x"'
    folder.mkdir()
    hospital = replace(load_registry().get("h01"), id=ID)
    record = f'{DOSE};77;900;{DRUG.replace(";", ",")};"{LABEL.replace(chr(34), chr(34) * 2)}";1;g;IV;16/03/2025 08:00;F'
    landed = land(
        folder, "administration", lines(H01_ADMINISTRATION, record), hospital=hospital, delivery=DELIVERY, path=FILE
    )
    row = landed.row
    assert (row["hospital_id"], row["delivery_id"], row["source_file"]) == (ID, DELIVERY, FILE)
    assert (row["drug_label"], row["drug_code"]) == (LABEL, DRUG.replace(";", ","))
    assert landed.outcome.output is not None
    given = HospitalInput(
        hospital,
        {"administration": [landed.outcome.output]},
        rejected=[
            Rejected("administration", DOSE, 2, None),
            Rejected("administration", "'), ('x", 3, "2025-10-01T00:00:00Z"),
        ],
    )
    output = folder / "written's.parquet"
    (outcome,) = consolidate_hospital(given, load_contract(), lambda table: output)
    (served,) = pq.read_table(output, partitioning=None).to_pylist()
    assert served["stale_correction"]  # the rejected version bears this very key
    assert (served["administration_id"], served["drug_code"], served["hospital_id"]) == (DOSE, None, ID)
    assert served["drug_code_source"] == DRUG.replace(";", ",")
    assert "administration.drug_code.antibacterial" in served["flags"].split(",")
    assert list(outcome.unmapped["drug"]) == [DRUG.replace(";", ",")]
    counted = gate.count(str(output), "administration", shifted=[ID])
    assert {checked for checked, *_ in counted.values()} <= {0, 1}
    assert len(counted) > 5
