"""One project for all tests of the compose file: images built, everything up and healthy; removed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from compose_project import Project
from engine import running
from local_spark import spark
from small_platform import SmallPlatform, create_database, migrated

from estuaire.base.settings import Settings
from estuaire.storage import pseudonym_key

__all__ = ["migrated", "spark"]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Project]:
    """With its secrets and images; nothing runs yet."""
    folder = tmp_path_factory.mktemp("compose")
    with running() as environment:
        found = Project(environment, folder / "secrets", free_port())
        found.draw_secrets()
        try:
            found.compose("build", "--quiet", "init", timeout=3600)  # the platform's image is every part's
            found.compose("build", "--quiet", "store", timeout=3600)
            yield found
        finally:
            found.remove()


@pytest.fixture(scope="session")
def up(project: Project) -> Project:
    """Everything up and healthy."""
    project.start()
    return project


@pytest.fixture(scope="session")
def embedded(
    project: Project, migrated: Settings, spark: Any, tmp_path_factory: pytest.TempPathFactory
) -> SmallPlatform:
    """The same deliveries through the same stages on this machine, under the project's pseudonym key."""
    folder = tmp_path_factory.mktemp("embedded")
    create_database(migrated, "beside_compose", "empty_platform")
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700)
    for path in migrated.secrets_path.iterdir():
        (secrets / path.name).write_bytes(path.read_bytes())
    (secrets / "pseudonym_key").write_bytes((project.secrets / "pseudonym_key").read_bytes())
    for path in secrets.iterdir():
        path.chmod(0o600)
    update = {"postgres_database": "beside_compose", "secrets_dir": secrets, "store_root": folder / "store"}
    platform = SmallPlatform(migrated.model_copy(update=update), spark)
    platform.execute("delete from control.pseudonym_key")
    pseudonym_key.ensure(platform)
    platform.lake.ensure()
    return platform


@pytest.fixture(autouse=True)
def _tells_what_the_parts_said(request: pytest.FixtureRequest) -> Iterator[None]:
    """A failed test shows the last lines of every part."""
    yield
    report: Any = getattr(request.node, "failed_call", None)
    if report and "up" in request.fixturenames:
        print(request.getfixturevalue("up").compose("logs", "--tail", "30"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.when == "call" and report.failed:
        item.failed_call = report  # type: ignore[attr-defined]
    return report  # type: ignore[return-value]
