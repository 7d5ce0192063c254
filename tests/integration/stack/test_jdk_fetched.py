"""Java is fetched, without root, from the system's packages."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from without_java import no_java

from estuaire.base.settings import Settings
from estuaire.stack import jdk

__all__ = ["no_java"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, home=tmp_path)


@pytest.mark.stack
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get on this system")
def test_java_is_fetched_without_root(settings: Settings, no_java: None) -> None:
    home = jdk.ensure_jdk(settings, usual=[], system_install=False)
    assert home == settings.root / "jdk"

    def run(program: str, *arguments: str) -> str:
        done = subprocess.run([home / "bin" / program, *arguments], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    assert re.search(r'version "(17|21|25)', run("java", "-version"))
    assert "jdk.incubator.vector@" in run("java", "--list-modules")
    assert run("keytool", "-list", "-cacerts", "-storepass", "changeit").count("trustedCertEntry") > 80
    conf = [path for path in (home / "conf").rglob("*") if path.is_symlink() and path.readlink().is_absolute()]
    assert conf == []
    assert jdk.find_jdk(settings, usual=[]) == home, "the next time it is found"
