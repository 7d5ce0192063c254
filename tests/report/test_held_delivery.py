"""A full delivery that waits for a confirmation is a state of its own: what it would end, table by table, and what to do, in French and
English, in `status`, `explain` and the report. It was a block with E_FULL_HELD among others."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import report_world
from psycopg2.extensions import cursor
from report_pages import HOSPITALS, built, read
from typer.testing import CliRunner

import estuaire.base.settings as module
from estuaire.base.settings import Settings
from estuaire.cli import build
from estuaire.deliveries import confirmation
from estuaire.report import data
from estuaire.runs import held_fulls
from estuaire.runs.explain import explain
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform

APP = build()
COMMAND = "estuaire confirm h02 2025-12-delta --by NAME"


@pytest.fixture
def call(settings: Settings, owner: cursor, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    report_world.ledger(owner, HOSPITALS[:4])
    report_world.held(owner, settings, "h02")
    monkeypatch.setattr(module, "settings", lambda: settings)
    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(APP, [*arguments])
        assert done.exit_code in (0, 3), done.output
        return done.output

    return run


def test_what_waits_is_told_by_table_the_largest_share_first(call: Callable[..., str], settings: Settings) -> None:
    [one] = held_fulls.waiting(Platform(settings))
    assert [(e.table, e.ended, e.standing, e.beyond) for e in one.endings] == [
        ("isolate", 1233, 1234, True),
        ("stay", 500, 1000, True),
        ("patient", 1, 100, False),
    ]
    assert one.command == COMMAND
    # nearly all is not told as all
    assert (
        "isolate 1,233 of 1,234 (99.9%, 20% may go), stay 500 of 1,000 (50%, 20% may go), patient 1 of 100 (1%)"
        in one.text("en")
    )
    assert (
        "isolate 1\xa0233 sur 1\xa0234 (99,9\xa0%, admis 20\xa0%), stay 500 sur 1\xa0000 (50\xa0%, admis 20\xa0%)"
        in one.text("fr")
    )


def test_status_says_it_in_both_languages(call: Callable[..., str]) -> None:
    english, french = call("status"), call("status", "--lang", "fr")
    assert (
        "HELD full delivery h02/2025-12-delta waits for a confirmation; it would end: isolate 1,233 of 1,234" in english
    )
    assert f"If the export is whole: `{COMMAND}`, then `estuaire run`" in english
    assert (
        "À CONFIRMER la livraison complète h02/2025-12-delta attend une confirmation ; elle mettrait fin à : isolate"
        in french
    )
    assert f"Si l'export est complet : `{COMMAND}`, puis `estuaire run`" in french
    assert "E_FULL_HELD" not in english + french


def test_explain_shows_it_apart_from_what_stopped(call: Callable[..., str], settings: Settings) -> None:
    found = explain(Platform(settings), "h02/2025-12-delta")
    assert (found.state, found.stopped) == ("held", [])
    assert [(s.kind, s.command) for s in found.next if s.kind == "confirm"] == [("confirm", COMMAND)]
    english, french = (call("explain", "h02/2025-12-delta", "--lang", lang) for lang in ("en", "fr"))
    assert "Waits for a confirmation: what each full delivery would end" in english
    assert "held, to be confirmed" in english
    assert "Attend une confirmation : ce à quoi chaque livraison complète mettrait fin" in french
    assert "en attente de confirmation" in french
    for told in (english, french):
        [row] = [line for line in told.splitlines() if "stay" in line and "50.000%" in line]
        assert [c.strip() for c in row.strip("│").split("│")][-4:] == ["500", "1,000", "50.000%", "20.000%"]
        assert COMMAND in told
    assert "What to do" not in french
    [held] = json.loads(call("explain", "h02/2025-12-delta", "--json"))["held"]
    assert held["endings"][0] == {"table": "isolate", "ended": 1233, "standing": 1234, "may": 0.2}
    assert explain(Platform(settings), "h01/2025-12-delta").held == []


def test_the_report_has_it_as_a_state_of_its_own(call: Callable[..., str], settings: Settings, owner: cursor) -> None:
    found = data.read(Platform(settings))
    assert found.state == "held"
    assert found.verdicts["h02", "landed"].verdict == "held"
    [delivery] = [d for d in found.deliveries if d.state not in ("landed", "blocked")]
    assert (delivery.hospital, delivery.delivery, delivery.state) == ("h02", "2025-12-delta", "held")
    assert [(t.who, t.where) for t in found.todo if t.who == "confirm"] == [("confirm", "h02/2025-12-delta")]
    page = read(built(settings))
    english, french = (" ".join(page.told[lang]) for lang in ("en", "fr"))
    assert "Waits for a confirmation" in english
    assert "1 full delivery waits for a confirmation, nothing of it counts" in english
    assert "0 blocked, 1 to confirm" in english
    assert "Confirmation attendue" in french
    assert "1 livraison complète attend une confirmation, rien n'en compte" in french
    assert "0 bloquée, 1 à confirmer" in french
    assert COMMAND in english
    assert COMMAND in french
    # once it is confirmed it waits no longer; where another is blocked, that is what the run is
    owner.execute("update control.delivery set state = 'blocked', error_code = 'E_CHECKSUM' where hospital_id = 'h03'")
    assert data.read(Platform(settings)).state == "blocked"
    confirmation.confirm(Database.of(settings), "h02", "2025-12-delta", "Jo")
    assert data.read(Platform(settings)).held == []
    assert "HELD" not in call("status")
