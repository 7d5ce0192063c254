"""A12: what `estuaire run` and `estuaire explain` end with, where a gate after the first blocked, and where another run's release is served."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from estuaire.base.settings import Settings, settings
from estuaire.cli import build, data
from estuaire.cli import explain as cli
from estuaire.operations import pipeline_run
from estuaire.operations.pipeline_run import Followed, follow
from estuaire.runs.explain import Explanation, Step, Stop
from estuaire.storage import error_columns
from estuaire.storage.platform import Platform


class _Client:
    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> _Client:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_a_run_says_what_every_gate_of_its_chain_blocked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The middle run's message was left out: "1 deliveries landed, 0 blocked; published release 4"."""
    now = datetime.now(UTC)
    said = ("1 deliveries landed, 0 blocked", "gate consolidated blocked h05", "published release 4")
    no_error = dict.fromkeys(error_columns.NAMES)
    ended = [
        {"run_id": f"r{i}", "state": "success", "message": m, "ended_at": now, **no_error} for i, m in enumerate(said)
    ]
    asked: list[Any] = []
    for name, stand_in in {
        "AirflowClient": _Client,
        "wait_for_dags": lambda *_: None,
        "under_way": lambda *_: None,
        "_start": lambda *_: pipeline_run._Chain("ingest_deliveries", "r0", now),
        "_to_the_end": lambda *_: ended,
        "build_quietly": lambda *_, **__: None,
        "_blocked": lambda _settings, root, runs: asked.append((root, runs)) or ["h05: gate consolidated: x"],
    }.items():
        monkeypatch.setattr(pipeline_run, name, stand_in)
    found = follow(Platform(Settings(_env_file=None, home=tmp_path)), lambda _: None)
    assert found.message == "; ".join(said)
    assert found.blocked == ["h05: gate consolidated: x"]
    assert asked == [("r0", ["r0", "r1", "r2"])]


@pytest.mark.parametrize(("blocked", "code"), [([], 0), (["h05: gate \x1b[2J consolidated: x"], data.PARTLY_BLOCKED)])
def test_the_commands_exit_code_says_whether_a_gate_blocked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, blocked: list[str], code: int
) -> None:
    monkeypatch.setenv("ESTUAIRE_HOME", str(tmp_path))
    settings.cache_clear()
    monkeypatch.setattr(pipeline_run, "follow", lambda *_: Followed("r0", "success", "done", blocked, 1.0))
    done = CliRunner().invoke(build(), ["run"])
    settings.cache_clear()
    assert done.exit_code == code, done.output
    assert ("BLOCKED h05: gate \\x1b[2J consolidated: x" in done.output) == bool(blocked)
    assert "\x1b[2J" not in done.output


@pytest.mark.parametrize(
    ("releases", "served", "line"),
    [
        ([], 7, "release of the marts: none (release 7 is served)"),
        ([], None, "release of the marts: none"),
        ([{"release_id": 8, "state": "published"}], 8, "release of the marts: 8 (published)"),
    ],
)
def test_explain_names_the_release_that_is_served_where_the_run_made_none(
    capsys: pytest.CaptureFixture[str], releases: list[dict[str, Any]], served: int | None, line: str
) -> None:
    stop = Stop("h01/d\x1b[2J", "E_X", "fi\x9ble", "what\u202e", "remedy\x07")
    step = Step("correct", "estuaire run\x1b", "h01/d\x1b", "detail\x1b")
    found = Explanation(
        "run\x1b[2J", "success", "message\x1b", [], [], [], [], [], [stop], [], [], releases, served, [step]
    )
    cli._print(found, language="en")
    out = capsys.readouterr().out
    assert line in [text.strip() for text in out.splitlines()]
    assert not {c for c in out if not c.isprintable()} - {"\n"}
