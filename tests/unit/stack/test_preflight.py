"""A broken set-up is named, with its remedy, before anything starts."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from estuaire.base.errors import SetupError
from estuaire.base.settings import Settings
from estuaire.stack import preflight

GOOD = ("linux", "x86_64", ("glibc", "2.36"), (3, 11))


@pytest.fixture
def make(tmp_path: Path, free_port: Callable[[], int]) -> Callable[..., Settings]:
    """Settings that this machine satisfies, but for what the test changes."""

    def build(**changes: object) -> Settings:
        ports = {"postgres_port": free_port(), "airflow_port": free_port()}
        return Settings(
            _env_file=None, **{"home": tmp_path, "min_free_disk_gib": 0.1, "min_memory_gib": 0.1, **ports, **changes}
        )

    return build


def test_good_machine_passes(make: Callable[..., Settings]) -> None:
    preflight.check(make())
    assert preflight.platform_problems(*GOOD) == []


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (("darwin", "arm64", ("", ""), (3, 11)), "darwin on arm64"),
        (("linux", "aarch64", ("glibc", "2.36"), (3, 11)), "linux on aarch64"),
        (("linux", "x86_64", ("", ""), (3, 11)), "not glibc"),
        (("linux", "x86_64", ("glibc", "2.17"), (3, 11)), "glibc 2.17"),
        (("linux", "x86_64", ("glibc", "2.28"), (3, 10)), "Python 3.10"),
        (("linux", "x86_64", ("glibc", "2.28"), (3, 14)), "Python 3.14"),
    ],
)
def test_unsupported_platform(found: tuple[str, str, tuple[str, str], tuple[int, int]], named: str) -> None:
    problems = preflight.platform_problems(*found)
    assert len(problems) == 1
    assert named in problems[0].what


@pytest.mark.parametrize("field", ["postgres_port", "airflow_port"])
def test_taken_port_is_named_with_its_holder(make: Callable[..., Settings], field: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SetupError) as caught:
            preflight.check(make(**{field: port}))
    assert f"port {port}" in caught.value.what
    assert f"(pid {os.getpid()})" in caught.value.what
    assert f"ESTUAIRE_{field.upper()}" in caught.value.remedy


def test_all_problems_at_once(make: Callable[..., Settings]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = make(airflow_port=port, min_free_disk_gib=1e9, min_memory_gib=1e9)
        with pytest.raises(SetupError) as caught:
            preflight.check(settings)
    assert caught.value.what.startswith("3 problems")
    for word in ("GiB of disk", "GiB of memory", f"port {port}"):
        assert word in caught.value.what


def test_one_port_for_both_is_named(make: Callable[..., Settings], free_port: Callable[[], int]) -> None:
    port = free_port()
    with pytest.raises(SetupError, match="asked for twice"):
        preflight.check(make(airflow_port=port, postgres_port=port))


def test_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    problems = preflight.home_problems(tmp_path / "file" / "home")
    assert len(problems) == 1
    assert "ESTUAIRE_HOME" in problems[0].remedy


def test_missing_shared_memory(tmp_path: Path) -> None:
    assert len(preflight.shared_memory_problems(tmp_path / "none")) == 1


def test_external_postgres_that_does_not_answer_is_named(
    make: Callable[..., Settings], free_port: Callable[[], int]
) -> None:
    away = make(postgres_host="localhost", postgres_port=free_port(), postgres_sslmode="require")
    with pytest.raises(SetupError, match=r"PostgreSQL at localhost:\d+ does not let 'estuaire'") as caught:
        preflight.check(away)
    assert "estuaire init" in caught.value.remedy


def test_a_run_of_known_size_is_refused_where_there_is_no_room(make: Callable[..., Settings]) -> None:
    preflight.check_room(make(), disk_gib=0.1, memory_gib=0.1)
    with pytest.raises(SetupError, match=r"2 problems: .*of disk are free.*1e\+06 are needed.*of memory are available"):
        preflight.check_room(make(), disk_gib=1e6, memory_gib=1e6)
