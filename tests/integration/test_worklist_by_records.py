"""The worklist of a ledger: local codes without a standard one, those of the most records first, over all hospitals."""

from __future__ import annotations

import pytest
from registry_copy import registry

from estuaire.base.settings import Settings
from estuaire.stewardship import codes_to_map
from estuaire.stewardship.suggestions import CodeRefused
from estuaire.storage import migrations
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform

__all__ = ["registry"]


def test_codes_come_by_records_over_all_hospitals(postgres: Settings, registry: Settings) -> None:
    migrations.upgrade(Database.of(postgres))
    settings = postgres.model_copy(update={"registry_dir": registry.registry_dir})
    with Database.of(settings).transaction() as connection, connection.cursor() as cursor:
        cursor.execute("delete from control.unmapped_code")
        for row in (
            ("h01", "organism", "escherichia coli", 5), ("h02", "organism", "Escherichia Coli", 40),
            ("h02", "drug", "QQQ-9", 50), ("h03", "drug", "001", 44),
        ):  # fmt: skip
            cursor.execute("insert into control.unmapped_code values (%s, %s, %s, %s)", row)
    entries = codes_to_map.worklist(Platform(settings))
    assert [(e.local_code, e.records, e.hospitals) for e in entries] == [
        ("QQQ-9", 50, {"h02": 50}),
        ("Escherichia Coli", 45, {"h02": 40, "h01": 5}),
        ("001", 44, {"h03": 44}),
    ]
    assert entries[1].suggestions[0].standard_code == "B_ESCHR_COLI"
    assert [
        e.local_code for e in codes_to_map.worklist(Platform(settings), hospital="h02", system="drug", limit=1)
    ] == ["QQQ-9"]
    with pytest.raises(CodeRefused, match="no code system"):
        codes_to_map.worklist(Platform(settings), system="planets")
