"""A 39th hospital is one reviewed file and its code maps: registry, simulator, guide, deliver and kernel take it with no other change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from sample_landed import land_sample
from typer.testing import CliRunner

from estuaire.base.errors import ContractError
from estuaire.base.settings import Settings, settings
from estuaire.cli import build
from estuaire.contract.registry import FOLDER, load_registry
from estuaire.contract.tables import load_contract
from estuaire.simulator import SimulationPlan, simulate

ENTRY = {
    "id": "h39",
    "finess": "990003907",
    "name": "Hôpital de la Dernière-Écluse",
    "fictional": True,
    "study_member": True,
    "calendar": "real",
    "timezone": "Europe/Paris",
    "contact": "dim@h39.example",
    # a dialect that no other hospital has
    "dialects": {
        "export": {
            "encoding": "iso8859-15",
            "delimiter": ",",
            "decimal": ",",
            "compression": "gzip",
            "date_formats": ["%d.%m.%Y"],
            "datetime_formats": ["%d.%m.%Y %H:%M:%S"],
            "null_values": ["", "-"],
        }
    },
    "tables": {name: {"dialect": "export"} for name in load_contract().names},
    "code_maps": {"sex": "sex.csv", "route": "route.csv"},
}
ENTRY["tables"]["patient"]["columns"] = {"NUMPAT": "patient_id", "NAISSANCE": "birth_date"}  # type: ignore[index]
MAPS = {
    "sex": "W,female\nX,male\n?,unknown\n",
    "route": "VO,oral\nVI,intravenous\nVM,intramuscular\nVS,subcutaneous\nVA,inhalation\n",
}


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A copy of the registry's folders with h39's file and maps, and nothing else."""
    folder = tmp_path / "registry"
    for name in ("hospitals", "code_maps"):
        shutil.copytree(FOLDER / name, folder / name)
    (folder / "hospitals" / "h39.yml").write_text(yaml.safe_dump(ENTRY, allow_unicode=True), encoding="utf-8")
    (folder / "code_maps" / "h39").mkdir()
    for system, text in MAPS.items():
        lines = "".join(f"{line},estuaire,2026-11-25\n" for line in text.splitlines())
        path = folder / "code_maps" / "h39" / f"{system}.csv"
        path.write_text("local_code,standard_code,reviewer,reviewed_on\n" + lines, encoding="utf-8")
    load_registry.cache_clear()
    return folder


@pytest.fixture
def configured(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("ESTUAIRE_REGISTRY_DIR", str(registry))
    monkeypatch.setenv("ESTUAIRE_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    yield settings()
    settings.cache_clear()


def test_the_registry_holds_it_beside_the_others(registry: Path) -> None:
    assert set(load_registry(registry).hospitals) == {*load_registry().hospitals, "h39"}


def test_the_simulator_writes_it(configured: Settings) -> None:
    plan = SimulationPlan(hospitals=("h39",), patients=20, administrations_per_patient=30, years=1, deliveries=2)
    summary = simulate(configured, plan)
    assert [(d.kind, d.state) for d in summary.deliveries] == [("full", "written"), ("delta", "written")]
    assert set(summary.deliveries[0].tables) == set(load_contract().names)
    assert summary.rows > 500


def test_its_guide_and_sample_are_made_and_delivered_by_the_commands(configured: Settings, tmp_path: Path) -> None:
    done = CliRunner().invoke(build(), ["guide", "h39", "--out", str(tmp_path / "guide")])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "guide" / "guide.fr.md").read_text(encoding="utf-8")
    assert "Hôpital de la Dernière-Écluse" in text
    assert "`NUMPAT` (contrat : `patient_id`)" in text
    assert "| `W` | `female` |" in text
    assert "`JJ.MM.AAAA`" in text
    place = tmp_path / "receipt.json"
    sample = str(tmp_path / "guide" / "sample")
    done = CliRunner().invoke(build(), ["deliver", sample, "--hospital", "h39", "--receipt", str(place)])
    assert done.exit_code == 0, done.output
    receipt = json.loads(place.read_text(encoding="utf-8"))
    assert (receipt["hospital"], receipt["finess"], receipt["state"]) == ("h39", "990003907", "handed_in")
    assert receipt["warnings"] == []
    assert (configured.store_path / "landing" / "h39" / receipt["delivery"] / "manifest.json").is_file()


def test_the_kernel_accepts_its_sample(registry: Path, tmp_path: Path) -> None:
    outcomes = land_sample(load_registry(registry).get("h39"), tmp_path)
    assert set(outcomes) == set(load_contract().names)
    assert all(o.error is None and o.rows_out == o.rows_in > 0 for o in outcomes.values())


@pytest.mark.parametrize(
    ("told", "default", "by_drug"),
    [
        (None, "substance", {}),
        ("product", "product", {}),
        ({"default": "substance", "J01CR05": "product"}, "substance", {"J01CR05": "product"}),
    ],
)
def test_it_says_what_a_dose_of_a_combination_is(
    registry: Path, told: object, default: str, by_drug: dict[str, str]
) -> None:
    document = ENTRY if told is None else {**ENTRY, "combination_doses": told}
    (registry / "hospitals" / "h39.yml").write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    hospital = load_registry(registry).get("h39")
    assert (hospital.combination_doses, hospital.combination_doses_by_drug) == (default, by_drug)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda d: d.update(finess="99000380"), r"\$\.finess"),
        (lambda d: d.update(finess="990000013"), r"\$\.finess.*share a FINESS number"),
        (lambda d: d.update(id="h01"), r"\$\.id.*which h01\.yml describes already"),
        (lambda d: d["dialects"]["export"].update(encoding="utf-16"), r"\$\.dialects\.export\.encoding"),
        (lambda d: d["dialects"]["export"].update(decimal="'"), r"\$\.dialects\.export\.decimal"),
        (lambda d: d["dialects"]["export"].update(date_formats=["JJ/MM/AAAA"]), r"\$\.dialects\.export\.date_formats"),
        (lambda d: d["dialects"]["export"].update(datetime_formats=["%d/%m/%Y"]), r"export\.datetime_formats"),
        (lambda d: d["dialects"]["export"].update(date_formats=["%d/%m/%y"]), r"export\.date_formats.*lacks"),
        (
            lambda d: d["dialects"]["export"].update(date_formats=["%d/%m/%Y", "%Y %d/%m/%y"]),
            r"export\.date_formats.*guessed",
        ),
        (
            lambda d: d["dialects"]["export"].update(datetime_formats=["%Y-%m-%dT%H:%M:%SZ"]),
            r"datetime_formats.*guessed",
        ),
        (lambda d: d["tables"]["stay"].update(dialect="other"), r"\$\.tables\.stay\.dialect"),
        (lambda d: d["tables"].update(visit={"dialect": "export"}), r"\$\.tables.*no table visit"),
        (lambda d: d["code_maps"].update(colour="sex.csv"), r"\$\.code_maps.*no code system colour"),
        (lambda d: d.update(timezone="Europe/Lutece"), r"\$\.timezone"),
        (lambda d: d.update(combination_doses="vial"), r"\$\.combination_doses: 'vial' is not one of"),
        (
            lambda d: d.update(combination_doses={"J01CR05": "product"}),
            r"\$\.combination_doses: 'default' is a required",
        ),
        (
            lambda d: d.update(combination_doses={"default": "substance", "J01CR05": "vial"}),
            r"\$\.combination_doses\.J01CR05: 'vial' is not one of",
        ),
        (
            lambda d: d.update(combination_doses={"default": "product", "J01DD04": "substance"}),
            r"\$\.combination_doses\.J01DD04: J01DD04 is no combination",
        ),
    ],
)
def test_a_malformed_entry_names_its_file_and_field(
    registry: Path, change: Callable[[dict[str, object]], None], field: str
) -> None:
    path = registry / "hospitals" / "h39.yml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(ContractError, match=rf"h39\.yml at .*{field}"):
        load_registry(registry).get("h39")


def test_a_file_that_is_no_yaml_names_its_line(registry: Path) -> None:
    (registry / "hospitals" / "h39.yml").write_text("id: h39\nname: [open\n", encoding="utf-8")
    with pytest.raises(ContractError, match=r"h39\.yml line \d+ is no YAML"):
        load_registry(registry).get("h39")
