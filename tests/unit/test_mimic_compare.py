"""Hospital 38's figures choice by choice: the waterfalls, against counts of the raw files that share nothing with them but the questions."""

from __future__ import annotations

import json
import re
import sys
from datetime import date

import independent_mimic as independent
import pytest

from estuaire.base.settings import PROJECT_ROOT, settings
from examples.mimic_iv_demo import compare as module
from examples.mimic_iv_demo.compare import Published, Waterfall, compare

RAW = settings().real_data_path
real = pytest.mark.skipif(not (RAW / "hosp").is_dir(), reason="real data absent")


@pytest.fixture(scope="module")
def waterfalls() -> dict[str, Waterfall]:
    return {w.figure: w for w in compare(RAW, Published(None))}


def _last(found: Waterfall) -> float:
    return found.steps[-1].number


@real
def test_isolates_and_first_isolates_end_at_the_independent_count(waterfalls: dict[str, Waterfall]) -> None:
    isolates = independent.isolates(RAW)
    numbers = [s.number for s in waterfalls["isolates"].steps]
    assert numbers[0] == len(independent.raw(RAW, "microbiologyevents"))
    assert numbers[2] == len(isolates)
    assert numbers[-1] == int(isolates["counts"].sum()) == independent.first_isolates(isolates, "all")
    assert numbers == sorted(numbers, reverse=True)
    for method, figure in (
        ("patient", "first isolates, one per patient and species ever"),
        ("m39", "first isolates, one per patient, species and year (M39)"),
        ("episode_30", "first isolates, episodes of 30 days"),
    ):
        assert _last(waterfalls[figure]) == independent.first_isolates(isolates, method)
        by_name = waterfalls[figure].steps[1].number
        assert by_name > _last(waterfalls[figure])


@real
def test_nights_and_days_of_therapy(waterfalls: dict[str, Waterfall]) -> None:
    nights = waterfalls["nights in full hospitalisation"].steps
    assert nights[1].number == len(independent.nights(RAW))
    assert 0 < nights[-1].number < nights[1].number
    given = independent.given(RAW)
    for atc, name in module.THERAPIES.items():
        steps = waterfalls[f"days of therapy, {name} ({atc})"].steps
        names, injected_only = independent.DRUGS[atc]
        own = given[given["drug"].isin(names)]
        own = own[~own["by_mouth"]] if injected_only else own
        assert steps[1].number == len(own)
        assert steps[2].number == len({(p, at.normalize()) for p, at in zip(own["subject_id"], own["at"], strict=True)})
        assert [s.number for s in steps] == sorted((s.number for s in steps), reverse=True)


@real
def test_a_product_is_not_its_substance(waterfalls: dict[str, Waterfall]) -> None:
    """Issue 12, item 1: 45.32 DDD where 40.29 is right, 22.00 where 14.67 is; before stays and covered months."""
    tazobactam = [s.number for s in waterfalls["DDD, piperacillin-tazobactam (J01CR05, DDD 14 g)"].steps]
    sulbactam = [s.number for s in waterfalls["DDD, ampicillin-sulbactam (J01CR01, DDD 6 g)"].steps]
    assert [round(n, 2) for n in tazobactam[1:3]] == [45.32, 40.29]
    assert [round(n, 2) for n in sulbactam[1:3]] == [22.00, 14.67]


def test_a_month_is_covered_from_half_of_its_days_with_patients_on() -> None:
    occupied = {date(2110, 1, d) for d in range(1, 11)} | {date(2110, 2, d) for d in range(1, 11)}
    given = {date(2110, 1, d) for d in range(1, 6)} | {date(2110, 2, d) for d in range(1, 5)} | {date(2110, 3, 1)}
    assert module._covered(occupied, given) == {(2110, 1)}


def test_episodes_are_counted_from_their_start() -> None:
    days = [
        date(2110, 1, 1),
        date(2110, 1, 1),
        date(2110, 1, 25),
        date(2110, 1, 31),
        date(2110, 2, 20),
        date(2110, 3, 2),
    ]
    assert module._deduplicated([("p", "s", d) for d in days], "episode_30") == 3
    assert module._deduplicated([("p", "s", d) for d in days], "m39") == 1


@real
def test_the_command_says_where_the_marts_differ(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare", "--raw-only"])
    assert module.main() == 0
    shown = capsys.readouterr().out
    assert "The marts were not asked" in shown
    assert "-8" in shown

    class One:
        rows = ((302,),)

    monkeypatch.setattr(module, "run_query", lambda *_: One())
    monkeypatch.setattr(sys, "argv", ["compare", "--json"])
    assert module.main() == 1  # every mart says 302: right for the isolates alone
    found = json.loads(capsys.readouterr().out)
    [isolates] = [w for w in found if w["figure"] == "isolates"]
    assert (isolates["steps"][-1]["number"], isolates["steps"][-1]["published"]) == (302, 302)


@real
@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_guides_figures_are_those_of_today(waterfalls: dict[str, Waterfall], language: str) -> None:
    """Each number of the guide's table is a step of a waterfall, and its result is where one ends."""
    text = (PROJECT_ROOT / "docs" / "hospitals" / f"onboarding.{language}.md").read_text(encoding="utf-8")
    table = text.split("examples.mimic_iv_demo.compare\n")[1].split("\n\n")[0].strip().splitlines()[2:]
    assert len(table) == 7
    steps = {round(s.number, 2) for w in waterfalls.values() for s in w.steps}
    covered = next(s.choice for s in waterfalls["nights in full hospitalisation"].steps if "months)" in s.choice)
    months = float(re.search(r"\((\d+) months\)", covered)[1])  # type: ignore[index]
    for row in table:
        _, _, raw, choices, result, _ = [cell.strip() for cell in row.split("|")]
        numbers = [
            float(n.replace(",", ".")) for n in re.findall(r"(?<![M\d])\d+(?:[.,]\d+)?", f"{raw} {choices} {result}")
        ]
        assert numbers
        assert set(numbers) <= {*steps, months}, row
        ends = {round(w.steps[-1].number, 2) for w in waterfalls.values()}
        assert {float(n.replace(",", ".")) for n in re.split(r" ?[;] ?", result)} <= ends, row
