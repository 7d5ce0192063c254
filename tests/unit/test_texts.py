"""What the program says stands in two catalogues alike: the same messages with the same blanks, each of them said somewhere."""

from __future__ import annotations

import ast
import gettext
import re
import string
from pathlib import Path
from typing import Any

import pytest
from babel.messages.pofile import read_po

from estuaire.base import settings, texts
from estuaire.base.errors import explained_errors
from estuaire.base.settings import PROJECT_ROOT
from estuaire.base.texts import LANGUAGES, TextMissing
from estuaire.operations.alerts.conditions import SEVERITIES

ROOT = PROJECT_ROOT / "estuaire"


def _messages(language: str) -> dict[str, tuple[str, ...]]:
    """Key -> its forms, as the source has them."""
    with texts.source(language).open("rb") as stream:
        catalogue = read_po(stream, locale=language, abort_invalid=True)
    found = [m for m in catalogue if m.id]
    assert [m.id for m in found if m.fuzzy] == []
    return {
        m.id[0] if isinstance(m.id, tuple) else str(m.id): m.string if isinstance(m.string, tuple) else (str(m.string),)
        for m in found
    }


MESSAGES = {language: _messages(language) for language in LANGUAGES}
KEYS = sorted(MESSAGES["en"])


def _blanks(form: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(form) if name is not None}


# ------------------------------------------------------------------------------------------------ the catalogues


def test_there_is_a_catalogue_for_each_language_and_no_other() -> None:
    assert len(KEYS) > 500
    assert {p.name for p in texts.LOCALE.iterdir() if p.is_dir()} == set(LANGUAGES)
    assert {p.relative_to(texts.LOCALE) for p in texts.LOCALE.rglob("*.*")} == {
        texts.source(x).relative_to(texts.LOCALE) for x in LANGUAGES
    }


def test_both_have_every_message_in_as_many_forms() -> None:
    assert set(MESSAGES["fr"]) == set(MESSAGES["en"])
    assert [k for k in KEYS if len(MESSAGES["fr"][k]) != len(MESSAGES["en"][k])] == []
    assert [
        k for messages in MESSAGES.values() for k, forms in messages.items() if not all(f.strip() for f in forms)
    ] == []


def test_each_form_has_the_same_blanks() -> None:
    different = {}
    for key in KEYS:
        sets = [_blanks(form) for language in LANGUAGES for form in MESSAGES[language][key]]
        if any(one != sets[0] for one in sets):
            different[key] = sets
    assert different == {}


@pytest.mark.parametrize(("language", "n", "told"), [("fr", 0, "0 ligne"), ("fr", 1, "1 ligne"), ("fr", 2, "2 lignes"),
                                                     ("en", 0, "0 rows"), ("en", 1, "1 row"), ("en", 2, "2 rows")])  # fmt: skip
def test_a_form_is_chosen_as_each_language_does(language: str, n: int, told: str) -> None:
    assert texts.count(language, "report.n_rows", n) == told


# ------------------------------------------------------------------------------------------------ what is missing


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_message_that_is_missing_is_a_typed_error(language: str) -> None:
    with pytest.raises(TextMissing, match=r"no catalogue holds the message report\.nowhere"):
        texts.say(language, "report.nowhere")
    with pytest.raises(TextMissing, match=r"report\.nowhere"):
        texts.count(language, "report.nowhere", 2)
    with pytest.raises(TextMissing, match="names 'at', which it is not given"):
        texts.say(language, "report.written")
    assert not texts.known("report.nowhere")
    assert texts.known("report.title")
    assert texts.known("report.n_rows")


def test_a_language_that_there_is_not_is_english() -> None:
    assert [texts.spoken(asked) for asked in ("fr", "en", "de", "")] == ["fr", "en", "en", "en"]


# ------------------------------------------------------------------------------------------------ compiled, for a hospital


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_wheels_catalogue_says_the_same(language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = texts.compiled(language)
    monkeypatch.setattr(texts, "LOCALE", tmp_path)
    texts.source(language).parent.mkdir(parents=True)
    texts.source(language).with_suffix(".mo").write_bytes(compiled)
    monkeypatch.setattr(settings, "CARRIED", True)
    carried = texts._catalogue.__wrapped__(language)
    monkeypatch.undo()
    own = texts._catalogue.__wrapped__(language)
    assert isinstance(carried, gettext.GNUTranslations)
    for key, forms in MESSAGES[language].items():
        for n in (0, 1, 2) if len(forms) > 1 else ():
            assert carried.ngettext(key, key, n) == own.ngettext(key, key, n) in forms
        if len(forms) == 1:
            assert carried.gettext(key) == own.gettext(key) == forms[0]


# ------------------------------------------------------------------------------------------------ what code says

# where an area's messages are said by a part of their key
SAID = {
    "report": ["report/*.py", "report/*.j2"],
    "docs": ["gates/docs.py"],
    "mail": ["operations/alerts/messages.py", "operations/alerts/*.j2"],
    "explain": ["cli/explain.py", "runs/explain.py"],
    "deliver": ["cli/deliver.py", "deliveries/hand_in.py"],
    "note": ["deliveries/hand_in.py"],
    "full": ["runs/held_fulls.py", "deliveries/confirmation.py"],
    "status": ["cli/stack.py"],
    "guide": ["deliveries/guide.py", "deliveries/guide.md.j2"],
}
# codes that a part of a key is made of, beyond what is written as one word
CODES = {
    "report": [r"kind_(full|delta)", r"disposition_\w+", r"outcome_\w+", r"check_\w+", r"effect_\w+"],
    "mail": [r"(new|standing|resolved)"],
    "deliver": [r"next_(prepared|unchanged|handed_in)", r"(full|delta|prepared|unchanged|handed_in)"],
    "guide": [r"encoding_\S+", r"type_\w+", r"mark_[dmYybHMSz]", r"check_(quarantine|warn|fail)", r"dose_(substance|product)"],
}  # fmt: skip
EXACT = {
    "alert": {f"{kind}.{part}" for kind in SEVERITIES for part in ("title", "what", "remedy")},
    "refusal": {f"{code}.{part}" for code in explained_errors() for part in ("what", "remedy")},
}


def _source(area: str) -> str:
    return "\n".join(p.read_text(encoding="utf-8") for glob in SAID[area] for p in sorted(ROOT.glob(glob)))


def _said(area: str, name: str, source: str) -> bool:
    if re.search(rf"""["'#]({re.escape(area)}\.)?{re.escape(name)}["']""", source):
        return True
    if any(re.fullmatch(code, name) for code in CODES.get(area, ())):
        return True
    begins = re.findall(rf"""["'](?:{area}\.)?([a-z_]+_)(?:\{{|["'] ~)""", source)
    begins += [f"{word}_" for word in re.findall(r"""word\(["'](\w+)["'],""", source)]
    ends = re.findall(r"""(?:\}|~ ["'])(_[a-z_]+)["']""", source)
    return any(name.startswith(one) for one in begins) or any(name.endswith(one) for one in ends)


def test_every_area_is_looked_at() -> None:
    assert {key.partition(".")[0] for key in KEYS} == {*SAID, *EXACT}


@pytest.mark.parametrize("area", SAID)
def test_every_message_is_said(area: str) -> None:
    source = _source(area)
    names = [key.partition(".")[2] for key in KEYS if key.startswith(f"{area}.")]
    assert names
    assert [name for name in names if not _said(area, name, source)] == []


@pytest.mark.parametrize("area", EXACT)
def test_every_code_has_its_messages_and_no_other(area: str) -> None:
    assert {key.partition(".")[2] for key in KEYS if key.startswith(f"{area}.")} == EXACT[area]


@pytest.mark.parametrize("area", SAID)
def test_what_is_said_is_in_the_catalogues(area: str) -> None:
    source = _source(area)
    named = set(re.findall(rf"""["']{area}\.(\w+)["']""", source))
    helpers = {
        "report": "text|counted",
        "guide": "say|_said",
        "mail": "say",
        "docs": "_both",
        "deliver": "word",
        "explain": "word",
    }
    if area in helpers:
        called = rf"""(?<![.\w])(?:{helpers[area]})\((?:language, )?["'](\w+)["'][,)]"""
        files = [p for glob in SAID[area] for p in ROOT.glob(glob)]
        named |= {n for p in files for n in re.findall(called, p.read_text(encoding="utf-8"))}
    assert named
    assert sorted(n for n in named if f"{area}.{n}" not in MESSAGES["en"]) == []


# ------------------------------------------------------------------------------------------------ no other way


def _pairs(tree: ast.AST) -> list[int]:
    """Lines on which a text stands in both languages: a dictionary of them, or a choice by the language."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict) and {"fr", "en"} <= {k.value for k in node.keys if isinstance(k, ast.Constant)}:
            found.append(node.lineno)
        if isinstance(node, ast.IfExp) and _asks(node.test) and _words(node.body) and _words(node.orelse):
            found.append(node.lineno)
        if isinstance(node, ast.If) and _asks(node.test):
            found.append(node.lineno)
    return found


def _asks(test: ast.AST) -> bool:
    return isinstance(test, ast.Compare) and any(
        isinstance(c, ast.Constant) and c.value in LANGUAGES for c in test.comparators
    )


def _words(node: ast.AST) -> bool:
    return any(isinstance(n, ast.Constant) and isinstance(n.value, str) and len(n.value) > 2 for n in ast.walk(node))


ELSEWHERE: dict[str, Any] = {
    "report/texts.py": "names of locales and patterns of numbers, which Babel fills",
}


def test_no_module_has_texts_in_two_languages_of_its_own() -> None:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        lines = _pairs(ast.parse(path.read_text(encoding="utf-8")))
        if lines and str(path.relative_to(ROOT)) not in ELSEWHERE:
            found[str(path.relative_to(ROOT))] = lines
    assert found == {}
    assert _pairs(ast.parse("a = {'fr': 'oui', 'en': 'yes'}\nb = 'oui' if language == 'fr' else 'yes'")) == [1, 2]
