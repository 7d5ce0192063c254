"""Landing reads the pseudonym key and never makes one: through the real driver, Spark task and ledger."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_platform import SmallPlatform, dose

from estuaire.base.errors import PseudonymKeyRefused, SecretUnusable, SetupError
from spark_jobs.land import Work, land_one


@pytest.fixture(scope="module")
def platform(new_platform: Callable[[], SmallPlatform], tmp_path_factory: pytest.TempPathFactory) -> SmallPlatform:
    """With secrets of its own, one delivery landed and one received."""
    made = new_platform()
    secrets = tmp_path_factory.mktemp("own") / "secrets"
    shutil.copytree(made.settings.secrets_path, secrets)
    made = made.but(secrets_dir=secrets)
    made.deliver("d1", 1, administration=[dose("A")])
    assert made.land()["landed"] == 1
    made.deliver("d2", 2, administration=[dose("B")])
    return made


@pytest.mark.parametrize(
    ("text", "error"),
    [(None, SecretUnusable), ("", SecretUnusable), ("5eed" * 8, SecretUnusable), ("5eed" * 16, PseudonymKeyRefused)],
    ids=["lost", "emptied", "half", "another"],
)
def test_a_landing_without_its_key_lands_nothing_and_draws_nothing(
    platform: SmallPlatform, text: str | None, error: type[SetupError]
) -> None:
    key: Path = platform.settings.secrets_path / "pseudonym_key"
    before = key.read_text(encoding="utf-8")
    try:
        if text is None:
            key.unlink()
        else:
            key.write_text(text, encoding="utf-8")
        with pytest.raises(error) as raised:
            platform.land()
        assert not raised.value.retryable
        assert (key.read_text(encoding="utf-8") if key.exists() else None) == text
        assert platform.state("d2") == ("received", None)
        last = platform.ask("select state, error_code from control.stage_run order by token desc limit 1")
        assert last == [("failed", error.code)], "the run says why"
        # a task whose driver had a key, on a machine that has none or another one
        [(known,)] = platform.ask("select fingerprint from control.pseudonym_key")
        with pytest.raises(error):
            land_one(platform, Work("h01", "d2", 0, "run-x", 1, known))
        assert (key.read_text(encoding="utf-8") if key.exists() else None) == text
    finally:
        key.write_text(before, encoding="utf-8")
        key.chmod(0o600)


def test_with_its_key_again_it_lands(platform: SmallPlatform) -> None:
    assert platform.land()["landed"] == 1
    patients = platform.in_lake("select count(distinct patient_id) from lake.landed.administration")
    assert patients == [(1,)], "one patient, not one for each key"
    assert [p for p in platform.settings.store_path.rglob("*") if p.stat().st_mode & 0o077] == []
