"""A machine without Java, as far as a test's own process sees."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A PATH with every program but java, and no JAVA_HOME."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for source in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        for program in Path(source).glob("*"):
            link = folder / program.name
            if not re.match(r"java|keytool|jwebserver", program.name) and not link.is_symlink():
                link.symlink_to(program)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert shutil.which("java") is None
