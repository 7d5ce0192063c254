"""C22: delivered values, names and manifests that would act on a terminal, as rich's markup, in a shell or in a browser, on a platform
that really took them: every command that prints of it shows them written out."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from calm_stages import Pair, pair, without_engines
from typer.testing import CliRunner

import estuaire.base.settings as module
from estuaire.base.display_text import shown
from estuaire.cli import build
from estuaire.report import files as report
from estuaire.storage import ledger

__all__ = ["pair", "without_engines"]

APP = build()  # once: it adds its commands to one application each time
SCRIPT = "</script><img src=x onerror=alert(1)>"
EVIL = {
    "colour": "\x1b[35;5mX", "link": "\x1b]8;;http://evil.test\x1b\\here\x1b]8;;\x1b\\", "clear": "\x9b2Jx", "nul": "a\x00b", "bell": "x\x07",
    "bidi": "\u202egpj.exe", "isolate": "\u2066iso\u2069", "invisible": "AM\u200bX", "line": "one\r\ntwo", "separator": "three\u2028four",
    "markup": "[red]x[/red]", "closing": "[/]x", "open": "[bold", "style": "[link=http://evil.test]x[/link]", "formula": "=cmd|' /C calc'!A0",
    "script": SCRIPT, "long": "L" * 100_000, "shell": "$(touch evil)",
}  # fmt: skip
ACTING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
OURS = re.compile(
    r"\x1b\[(?!35;5m)[0-9;]*m"
)  # styles that rich writes for the commands; the delivered one is none of them


def _doses() -> list[str]:
    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    return [f"{i};77;900;{quoted(text)};1;g;IV;16/03/2025 08:00;F" for i, text in enumerate(EVIL.values())] + [
        f"{text};77;900;J01DD04;x;g;IV;16/03/2025 08:00;F" for text in map(quoted, EVIL.values())
    ]


def _folder(root: Path, name: str) -> Path | None:
    """A delivery's folder of this name, where the file system takes it."""
    try:
        (root / name).mkdir()
    except (OSError, ValueError):
        return None
    return root / name


@pytest.fixture(scope="module")
def evil(pair: Pair) -> Any:
    """h01 delivers evil values, and folders and manifests of evil names; h02 is sound."""
    pair.deliver()
    pair.run("land")
    platform, root = pair.tried, pair.tried.settings.store_path / "landing" / "h01"
    doses = _doses()
    for number, records in enumerate((doses[: len(EVIL)], doses[len(EVIL) :]), start=2):
        platform.deliver(f"d{number}", number, administration=records)
    for i, (kind, text) in enumerate(EVIL.items()):
        named = _folder(root, text.replace("/", "∕")[:80])
        if named is not None:
            shutil.copy(root / "d2" / "administration.csv", named)
            if i % 2:  # a manifest whose name is the folder's; the others' is missing
                shutil.copy(root / "d2" / "manifest.json", named)

        def spoil(document: dict[str, Any], text: str = text) -> None:
            document["files"][0].update(path=f"{text}.csv"[:240], table=text[:64], dialect=text[:64])
            document.update({text[:1000]: text, "kind": text if len(text) % 2 else "delta"})

        platform.deliver(f"m-{kind}", 100 + i, change=spoil, administration=["1"])
        platform.deliver(
            f"f-{kind}",
            200 + i,
            change=lambda d, t=text: d["files"][0].update(path=f"{t}.csv"[:240]),
            administration=["1"],
        )
    run_id = platform.new_run()
    for stage in ("land", "consolidate"):
        pair.run(stage)
    for code in EVIL.values():  # what a mapping or an earlier version left in the ledger is no safer
        platform.execute(
            "insert into control.unmapped_code (hospital_id, code_system, local_code, records, columns, blocked) "
            "values ('h02', 'drug', %s, 3, '{}', false)", code.replace("\x00", "")[:2000],
        )  # fmt: skip
    ledger.end_run(platform.database, run_id, "failed", "; ".join(EVIL.values()).replace("\x00", "")[:5000])
    return platform


def _names(platform: Any) -> list[str]:
    rows = platform.ask(
        "select hospital_id || '/' || delivery_id from control.delivery where delivery_id <> 'd1' order by 1"
    )
    return [name for (name,) in rows]


def _commands(platform: Any) -> list[list[str]]:
    asked = [[name, *(("--lang", "fr") if i % 2 else ())] for i, name in enumerate(_names(platform))]
    return [
        ["worklist", "--limit", "500"], ["worklist", "--json"], ["worklist", "--hospital", "h01"], ["rejected"], ["rejected", "--json"],
        ["rejected", "h01/d3"], ["status"], ["status", "--json"], ["runs"], ["runs", "--json"], ["accounting", "--each"],
        ["accounting", "--json"], ["explain"], ["explain", "--json"], ["explain", "h01/d2", "--json"], ["releases"],
        ["rejected", EVIL["colour"]], ["rejected", EVIL["markup"]], ["logs"],
        *(["explain", *more] for more in asked),
    ]  # fmt: skip


@pytest.mark.parametrize("terminal", [False, True], ids=["piped", "terminal"])
def test_no_delivered_character_acts_on_what_a_command_prints(
    evil: Any, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(module, "settings", lambda: evil.settings)
    if terminal:  # as rich writes on a terminal: narrow, so that tables become records one below the other
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "100")
    printed = {}
    for number, command in enumerate(_commands(evil)):
        if number > 20 and number % (6 if terminal else 3) and not re.search(r"[\[=$]", command[1]):
            continue
        done = CliRunner().invoke(APP, command)
        told = OURS.sub("", done.output + (str(done.exception) if done.exit_code == 1 else ""))
        assert (
            done.exception is None
            or done.exit_code == 3
            or type(done.exception).__module__.startswith("estuaire.base.errors")
        ), (
            command,
            done.exception,
        )
        assert not ACTING.search(told), (command, ascii(told[max(0, ACTING.search(told).start() - 80) :][:160]))  # type: ignore[union-attr]
        assert "\x1b" not in told
        if command[-1] == "--json" and command[0] != "status":
            json.loads(done.stdout)
        printed[tuple(command)] = told
    # each is there, as it was delivered but for what acts: no markup was swallowed, and none ended the command
    worklist = printed["worklist", "--limit", "500"]
    for kind, text in EVIL.items():
        if kind not in ("long", "nul", "line"):
            assert shown(text) in worklist, kind
    assert "[red]x[/red]" in printed["rejected", EVIL["markup"]]
    explained = "".join(told for command, told in printed.items() if command[0] == "explain")
    assert all(name in explained for name in ("[red]x", "[bold", "[link=", "=cmd|", "$(touch evil)"))


def test_a_command_to_copy_holds_a_delivered_name_as_one_word(evil: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "settings", lambda: evil.settings)
    named = [n for n in _names(evil) if re.search(r"[ $(\[=]", n)]
    assert "h01/$(touch evil)" in named
    for name in named:  # such as the hospital can mend alone are not retried: here the registry is to blame
        evil.execute(
            "update control.delivery set state = 'blocked', error_code = 'E_CONTRACT', error_what = 'x', error_remedy = 'y' "
            "where hospital_id || '/' || delivery_id = %s", name,
        )  # fmt: skip
        found = json.loads(CliRunner().invoke(APP, ["explain", name, "--json"]).stdout)
        [command] = [step["command"] for step in found["next"] if step["kind"] == "retry"]
        assert shlex.split(command) == ["estuaire", "retry", name]


def test_the_report_holds_them_as_text(evil: Any) -> None:
    page = report.build(evil).read_text(encoding="utf-8")
    assert SCRIPT not in page
    assert "<img src=x" not in page
    assert page.count("<script") == page.count("</script")
