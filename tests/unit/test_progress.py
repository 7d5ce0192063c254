"""What a stage notes of its getting on: pieces of work that were finished, not that its process lives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from estuaire.base import progress
from estuaire.base.metering import Meter
from estuaire.warehouse import dbt_build


class Noting:
    """Counts the notes of a stage; its ledger may be away."""

    def __init__(self, error: Exception | None = None) -> None:
        self.notes, self.error = 0, error

    def note_progress(self) -> None:
        self.notes += 1
        if self.error:
            raise self.error


def test_nothing_is_noted_outside_a_stage() -> None:
    progress.made()
    with progress.noted(stage := Noting()):  # type: ignore[arg-type]
        pass
    progress.made()
    assert stage.notes == 0


def test_a_step_is_noted_at_once_and_many_together(monkeypatch: pytest.MonkeyPatch) -> None:
    with Meter() as meter, progress.noted(stage := Noting()):  # type: ignore[arg-type]
        for _ in range(100):
            meter.step("done")
        assert stage.notes == 1
        monkeypatch.setattr(progress, "_EVERY", 0.0)
        meter.step("done")
        assert stage.notes == 2


def test_a_ledger_that_is_away_stops_nothing() -> None:
    with progress.noted(stage := Noting(OSError())):  # type: ignore[arg-type]
        progress.made()
    assert stage.notes == 1


def _dbt(log: Path, program: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen([sys.executable, "-uc", program], stdout=output)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbt_build, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(progress, "_EVERY", 0.0)


def test_a_log_that_grows_is_progress_and_a_live_process_alone_is_none(tmp_path: Path, quick: Any) -> None:
    speaks = "import time\nfor n in range(4): print(n); time.sleep(0.4)"
    with progress.noted(spoke := Noting()):  # type: ignore[arg-type]
        assert dbt_build._ended(_dbt(tmp_path / "a", speaks), tmp_path / "a", 60) == 0
    with progress.noted(hung := Noting()):  # type: ignore[arg-type]
        assert dbt_build._ended(_dbt(tmp_path / "b", "import time; time.sleep(1); exit(3)"), tmp_path / "b", 60) == 3
    assert spoke.notes >= 2
    assert hung.notes == 0


def test_a_process_that_does_not_end_is_given_up_in_time(tmp_path: Path, quick: Any) -> None:
    process = _dbt(tmp_path / "a", "import time; time.sleep(60)")
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            dbt_build._ended(process, tmp_path / "a", 0.5)
    finally:
        process.kill()
        process.wait()
