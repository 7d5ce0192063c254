"""YAML read by libyaml: what the loader in Python gives, its errors, and no text that ends the process."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from estuaire.base import yaml_text
from estuaire.base.settings import PROJECT_ROOT

TEXTS = [
    "",
    "a: 2025-03-01\nb: '2025-03-01'\nc: 2025-03-01 08:00:00\n",
    "a: [yes, no, on, off, null, ~, 1_000, 0o17, 017, 0x1f, .inf, 1e3, 12:30]\n",
    "a: >-\n  two\n  lines\n\n  and one\nb: |\n  kept\n   as it is\n",
    'a: "\\u00e9 \\n \\x41"\nb: é\u2028€\n',
    "\ufeffa: 1\n",
    "a: &x {b: 1}\nc: {<<: *x, d: 2}\n",
    "a: 1\na: 2\n",
    "? [1, 2]\n: pair\n",
]


def _read(text: str) -> str:
    """What is read, or the error with its place."""
    try:
        return repr(yaml_text.read(text))
    except Exception as error:  # noqa: BLE001 - compared with the other loader's
        return f"{type(error).__name__} {error}"


def _slowly(text: str) -> str:
    try:
        return repr(yaml.safe_load(text))
    except Exception as error:  # noqa: BLE001 - compared
        return f"{type(error).__name__} {error}"


@pytest.mark.parametrize("text", TEXTS)
def test_texts_of_every_kind_are_read_alike(text: str) -> None:
    assert _read(text) == _slowly(text)


@pytest.mark.parametrize("folder", ["estuaire/contract/hospital", "expectations/marts"])
def test_the_projects_documents_are_read_alike(folder: str) -> None:
    found = list((PROJECT_ROOT / folder).rglob("*.yml"))
    assert len(found) > 5
    for path in found:
        text = path.read_text(encoding="utf-8")
        assert _read(text) == _slowly(text), path


@pytest.mark.parametrize(
    "text", ["a: b: c", "a: [1, 2", "!!python/object/apply:os.system [ls]", "\x00", "a: *b", "a:\n\t- 1"]
)
def test_an_error_is_the_other_loaders_with_its_line(text: str) -> None:
    assert _slowly(text).startswith(("ScannerError", "ParserError", "ConstructorError", "ReaderError", "ComposerError"))
    assert _read(text) == _slowly(text)


@pytest.mark.parametrize("nested", ["[", "- ", "? ", "{a: "])
def test_a_text_that_nests_without_end_is_an_error_not_the_processs_end(nested: str) -> None:
    """libyaml has no limit: a hospital's file of 300 kB would end whatever reads the registry."""
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "from estuaire.base import yaml_text\n"
            f"try: yaml_text.read({nested!r} * 300_000)\n"
            "except Exception as error: print(type(error).__name__)",
        ],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.strip().endswith("Error")
