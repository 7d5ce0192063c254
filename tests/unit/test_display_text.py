"""C22: no character that comes from outside acts on a terminal."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from estuaire.base.display_text import shown, shown_json, shown_lines
from estuaire.base.errors import ContractError
from estuaire.cli import data
from estuaire.cli.tables import show

ACTING = ["\x1b[2J", "\x9b2J", "\x07", "\r", "\x7f", "\u202e", "\u2066", "\u200b", "\ufeff", "\u2028", "\ud800"]


@pytest.mark.parametrize("text", ACTING, ids=ascii)
def test_what_acts_on_a_terminal_is_written_out_everywhere(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    value = f"a{text}b"
    show([{"code": value}], {"code": f"he{text}ading"}, title="t")
    out = capsys.readouterr().out
    told = ContractError(value, remedy=value, hospital=value, file=value).sentence()
    for written in (shown(value), shown_lines(value), shown_json(json.dumps(value, ensure_ascii=False)), out, told):
        assert text[0] not in written
        assert "\\" in written
    assert json.loads(shown_json(json.dumps(value, ensure_ascii=False))) == value


def test_what_people_write_stays() -> None:
    text = "Réanimation été — 1\u00a0234 µg/L ≤ 0,5 « E. coli » œ 日本"
    assert shown(text) == text == shown_lines(text)
    assert shown_lines("a\nb") == "a\nb"
    assert shown("a\nb\tc") == "a\\nb\\tc"


def test_the_commands_help_still_comes() -> None:
    """``run`` says its exit code where a gate blocked something."""
    from estuaire.cli import build

    done = CliRunner().invoke(build(), ["run", "--help"])
    assert f"Exit code {data.PARTLY_BLOCKED}" in done.output
