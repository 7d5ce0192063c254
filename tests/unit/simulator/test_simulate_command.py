"""`estuaire simulate`: hospitals by number or name, a summary for machines, typed refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from estuaire.base.errors import SetupError
from estuaire.cli import simulate as command


def _run(*arguments: str) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    return CliRunner().invoke(
        app, ["simulate", "--patients", "20", "--administrations", "30", "--workers", "1", *arguments]
    )


def test_json_summary_and_a_second_run_that_changes_nothing(tmp_path: Path) -> None:
    first = _run("--hospitals", "h01,h03", "--into", str(tmp_path), "--json")
    assert first.exit_code == 0
    summary = json.loads(first.stdout)
    assert (summary["hospitals"], {d["state"] for d in summary["deliveries"]}) == (2, {"written"})
    assert {p.name for p in (tmp_path / "landing").iterdir()} == {"h01", "h03"}
    assert not list((tmp_path / "landing").rglob("truth*"))
    second = _run("--hospitals", "h01,h03", "--into", str(tmp_path))
    assert "0 written, 6 there already" in second.stdout


def test_the_first_deliveries_alone_with_a_fault(tmp_path: Path) -> None:
    arguments = ("--hospitals", "2", "--until", "2024-06", "--years", "2", "--deliveries", "2", "--into", str(tmp_path))
    assert _run(*arguments, "--only-deliveries", "1", "--bad-checksum", "h02:2024-05-full").exit_code == 0
    assert [p.name for p in sorted((tmp_path / "landing" / "h02").iterdir())] == ["2024-05-full"]
    truth = json.loads((tmp_path / "simulation" / "truth.json").read_text(encoding="utf-8"))
    assert truth["hospitals"]["h02"]["2024-05-full"]["blocked"]


@pytest.mark.parametrize(
    "wrong",
    [
        ("--hospitals", "0"),
        ("--hospitals", "38"),  # there are 37 fictional ones; h38 is real
        ("--hospitals", "h38"),
        ("--until", "june"),
        ("--bad-checksum", "h01"),
    ],
)
def test_what_cannot_be_simulated_is_a_typed_error(tmp_path: Path, wrong: tuple[str, str]) -> None:
    assert isinstance(_run("--into", str(tmp_path), *wrong).exception, SetupError)
