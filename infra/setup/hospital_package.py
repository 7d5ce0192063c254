"""What `make hospital-package` puts into the wheel beside estuaire/: the project's files that a hospital's commands read, and the catalogues
of texts, compiled: no Babel is there that reads the source.

setuptools calls it (pyproject.toml, ``cmdclass``). They go to ``estuaire/project/``, where ``estuaire.base.settings`` finds them in the
place of the project's folder. An editable installation (`make setup`) is the project itself: there it does nothing.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path("estuaire") / "project"
# the rules of landing with their form; the reference facts with their licence
CARRIED = ("expectations/rules.schema.json", "expectations/landed/*.yml", "dbt_project/seeds/reference/*")
LEFT_OUT = "spark_jobs"  # only the platform's processes import it


def carried() -> list[str]:
    """Paths below the project's folder.

    Raises:
        FileNotFoundError: there is none of a kind: the wheel would lack it unseen.
    """
    paths = []
    for pattern in CARRIED:
        files = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(pattern) if path.is_file())
        if not files:
            raise FileNotFoundError(f"{pattern}: nothing there to put into the package")
        paths += files
    return paths


def _texts() -> Any:
    """The library's own reader of catalogues: where a wheel is built the project's folder is on no path."""
    sys.path.insert(0, str(ROOT))
    try:
        return importlib.import_module("estuaire.base.texts")
    finally:
        sys.path.remove(str(ROOT))


def catalogues() -> dict[str, str]:
    """Language -> its catalogue below the project's folder."""
    texts = _texts()
    return {language: str(texts.source(language).relative_to(ROOT)) for language in texts.LANGUAGES}


class BuildPy(build_py):
    """As setuptools', with the carried files and the compiled catalogues."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if not self.editable_mode:
            self.packages = [name for name in self.packages if name.partition(".")[0] != LEFT_OUT]

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for name in carried():
            target = Path(self.build_lib) / TARGET / name
            self.mkpath(str(target.parent))
            self.copy_file(str(ROOT / name), str(target))
        for language, name in catalogues().items():
            compiled = self._compiled(name)
            self.mkpath(str(compiled.parent))
            compiled.write_bytes(_texts().compiled(language))

    def _compiled(self, catalogue: str) -> Path:
        return (Path(self.build_lib) / catalogue).with_suffix(".mo")

    def get_source_files(self) -> list[str]:
        """For an sdist, from which a wheel may be built."""
        this_file = str(Path(__file__).resolve().relative_to(ROOT))
        return [*super().get_source_files(), *carried(), *catalogues().values(), this_file]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        extra_outputs = [] if self.editable_mode else [str(Path(self.build_lib) / TARGET / name) for name in carried()]
        extra_outputs += [] if self.editable_mode else [str(self._compiled(name)) for name in catalogues().values()]
        return [*super().get_outputs(include_bytecode), *extra_outputs]
