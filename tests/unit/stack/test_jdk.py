"""Java is found, judged by what Spark needs, and fetched without root where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from without_java import no_java

from estuaire.base.errors import SetupError
from estuaire.base.settings import Settings
from estuaire.stack import jdk

__all__ = ["no_java"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, home=tmp_path)


def _fake(home: Path, modules: str) -> Path:
    (home / "bin").mkdir(parents=True)
    java = home / "bin" / "java"
    java.write_text(f"#!/bin/sh\nprintf '{modules}'\n")
    java.chmod(0o755)
    return home


@pytest.mark.parametrize(
    ("listed", "good"),
    [
        (["java.base@17.0.15", "jdk.incubator.vector@17.0.15"], True),
        (["java.base@25", "jdk.incubator.vector@25"], True),
        (["java.base@17.0.15"], False),  # a jlinked runtime without the module
        (["java.base@11.0.2", "jdk.incubator.vector@11.0.2"], False),
        ([], False),
        (["Unrecognized option: --list-modules"], False),  # Java 8
    ],
)
def test_what_suffices(listed: list[str], good: bool) -> None:
    assert jdk.modules_suffice(listed) is good


def test_java_home_comes_first(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine = _fake(tmp_path / "mine", r"java.base@21\njdk.incubator.vector@21\n")
    monkeypatch.setenv("JAVA_HOME", str(mine))
    assert jdk.find_jdk(settings) == mine


def test_unsuitable_java_is_passed_over(settings: Settings, no_java: None, tmp_path: Path) -> None:
    _fake(tmp_path / "jvm" / "a-old", r"java.base@11\n")
    good = _fake(tmp_path / "jvm" / "b-new", r"java.base@17\njdk.incubator.vector@17\n")
    assert jdk.find_jdk(settings, usual=[str(tmp_path / "jvm" / "*")]) == good


def test_no_java_and_no_package_manager_says_what_to_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(SetupError, match="JAVA_HOME"):
        jdk.ensure_jdk(settings, usual=[])


def test_links_out_of_the_tree_become_files(tmp_path: Path) -> None:
    home, tree = tmp_path / "tree/usr/lib/jvm/x", tmp_path / "tree"
    (home / "conf").mkdir(parents=True)
    (tree / "etc/java").mkdir(parents=True)
    (tree / "etc/java/net.properties").write_text("a=1")
    (home / "conf/net.properties").symlink_to("/etc/java/net.properties")
    (home / "conf/gone").symlink_to("/etc/java/gone")
    (home / "conf/near").symlink_to("net.properties")
    jdk.mend_links(home, tree)
    assert (home / "conf/net.properties").read_text() == "a=1"
    assert not (home / "conf/net.properties").is_symlink()
    assert not (home / "conf/gone").is_symlink()
    assert (home / "conf/near").read_text() == "a=1"
