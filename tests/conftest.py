"""Fixtures shared by all tests. The servers are real ones, in a folder of their own, on free ports."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import hypothesis
import no_servers
import pytest

from estuaire.base.settings import Settings

ASKED_FOR = (
    "seeds",
    "s3",
    "faults",
    "compose",
    "alerts",
)  # markers of tests that run only where they are asked for: make test-seeds...

# Files that take minutes, the longest first: begun last, one of them would be run by one worker while the other has nothing left to do.
LONGEST = (
    "end_to_end/test_pipeline.py",
    "integration/test_gates.py",
    "integration/test_backup.py",
    "integration/test_consolidate_load.py",
    "dbt/test_publish.py",
    "integration/test_deliveries_alone.py",
    "end_to_end/test_stack.py",
    "unit/kernel/test_slow_reader.py",
)

# The same examples each time: whether a change passes is no matter of luck; make test-fuzz draws new ones. Without a stopwatch: the
# machine may be busy with other tests.
hypothesis.settings.register_profile(
    "estuaire", deadline=None, print_blob=True, derandomize="ESTUAIRE_FUZZ_ROUNDS" not in os.environ
)
hypothesis.settings.load_profile("estuaire")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without ``-m``, the tests so marked are left out (and counted as deselected). Unit tests ask for no server."""
    no_servers.refuse(items)
    rank = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
    if config.getoption("markexpr"):
        return
    left_out = [i for i in items if any(i.get_closest_marker(m) for m in ASKED_FOR)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [i for i in items if i not in left_out]


def pytest_configure(config: pytest.Config) -> None:
    """A worker of pytest-xdist has a main module without a file, which pyspark.sql.connect takes for doctests and leaves by sys.exit."""
    main = sys.modules["__main__"]
    if hasattr(config, "workerinput") and not hasattr(main, "__file__"):
        main.__file__ = pytest.__file__


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """What a test leaves on its process ends with it: a command called in this process closes the umask (``estuaire.base.private_files``)."""
    before, folder = os.umask(0o022), Path.cwd()
    os.umask(before)
    try:
        with no_servers.forbidden_in(item.path):
            return (yield)
    finally:
        os.umask(before)
        os.chdir(folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def temporary_settings() -> Iterator[Settings]:
    """Settings of a new home on free ports. Not below pytest's folder: pytest closes it to other accounts again and again."""
    parent = Path(tempfile.mkdtemp(prefix="estuaire-test-"))  # mode 0700: the server's account must find its way in
    try:
        yield Settings(
            _env_file=None,
            home=parent / "home",
            postgres_port=_free_port(),
            airflow_port=_free_port(),
            min_free_disk_gib=1.0,
            min_memory_gib=1.0,
        )
    finally:
        shutil.rmtree(parent, ignore_errors=True)


@contextlib.contextmanager
def _without_fsync() -> Iterator[None]:
    """PostgreSQL started herein does not wait for the disk: its databases are thrown away. What it answered is there after a kill all the same
    (the machine's own memory has it); only a machine that goes down would lose it."""
    from estuaire.stack import postgres as server

    durable = server.server_config
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            server, "server_config", lambda **given: f"{durable(**given)}fsync = off\nfull_page_writes = off\n"
        )
        yield


@contextlib.contextmanager
def started_stack(*, durable: bool = True) -> Iterator[Settings]:
    """A whole stack, stopped at the end whatever happened."""
    from estuaire.stack import lifecycle

    with temporary_settings() as settings:
        try:
            with contextlib.nullcontext() if durable else _without_fsync():
                lifecycle.up(settings)
            yield settings
        finally:
            lifecycle.down(settings)


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives a port that nobody listens on."""
    return _free_port


@pytest.fixture(scope="session")
def start_stack() -> Callable[[], contextlib.AbstractContextManager[Settings]]:
    """Starts a whole stack of its own, for a test that breaks it: ``with start_stack() as settings``."""
    return started_stack


@pytest.fixture
def airflow_home() -> Iterator[Settings]:
    """Settings of a home for a stack of the test's own."""
    with temporary_settings() as settings:
        yield settings


@pytest.fixture(scope="module")
def own_settings() -> Iterator[Settings]:
    """Settings of a home for a server of the module's own."""
    with temporary_settings() as settings:
        yield settings


@pytest.fixture(scope="module")
def running_stack() -> Iterator[Settings]:
    """PostgreSQL and Airflow with the project's DAGs, for tests marked ``stack``. Of a file: idle, it takes a fifth of a core from all that
    follow."""
    with started_stack(durable=False) as settings:
        yield settings


@pytest.fixture(scope="session")
def postgres() -> Iterator[Settings]:
    """The embedded PostgreSQL alone, with its roles and empty databases (4 s)."""
    from estuaire.stack import postgres as server
    from estuaire.stack import roles

    with temporary_settings() as settings:
        try:
            with _without_fsync():
                server.start(settings)
            roles.ensure(settings, server.ensure_passwords(settings))
            yield settings
        finally:
            server.stop(settings)


# ------------------------------------------------------------------------------------------------ what could not be tested

REAL_DATA_ABSENT = "real data absent"
_absent: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple) and REAL_DATA_ABSENT in report.longrepr[2]:
        _absent.append(report.nodeid)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line of a run without the real data: what it did not test is not passed over."""
    if _absent:
        print(f"SKIPPED ({REAL_DATA_ABSENT})")
