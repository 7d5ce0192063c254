"""What the rules of each stage may be about: relations and their columns.

Landed and consolidated: the contract's tables, as ``estuaire.contract.layer_columns`` types them. Conformed and marts: the dbt models, as their YAML
declares them (contracts are enforced, so the declared columns are the real ones), and relations that a rule file computes from
models (``relation:``), for what no single row can tell: sums over strata, one model against another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from estuaire.base import yaml_text
from estuaire.base.errors import ContractError
from estuaire.base.settings import PROJECT_ROOT
from estuaire.contract.layer_columns import consolidated_columns
from estuaire.contract.tables import load_contract

STAGES = ("landed", "consolidated", "conformed", "marts")
MODELS = PROJECT_ROOT / "dbt_project" / "models"
_READ = re.compile(r"\{(\w+)\.(\w+)\}")
_TEXT = ("text", "varchar", "string", "code")


@dataclass(frozen=True)
class Relation:
    """Columns with their types; ``query`` is set for one that a rule file computes: SQL with ``{conformed.isolate}`` for a model."""

    name: str
    columns: Mapping[str, str]
    query: str | None = None

    @property
    def texts(self) -> frozenset[str]:
        """Columns that hold text."""
        return frozenset(n for n, kind in self.columns.items() if kind.lower().split("(")[0] in _TEXT)

    def reads(self, name: Callable[[str, str], str]) -> str:
        """The query with each model's place written by ``name(stage, model)``."""
        return _READ.sub(lambda m: name(m[1], m[2]), self.query or "")


@lru_cache(maxsize=8)
def models(folder: Path, stage: str) -> Mapping[str, Relation]:
    """The dbt models of a stage by name."""
    return {
        model["name"]: Relation(model["name"], {c["name"]: c.get("data_type", "") for c in model.get("columns", [])})
        for model in declared(folder, stage)
    }


@lru_cache(maxsize=8)
def declared(folder: Path, stage: str) -> list[dict[str, Any]]:
    """The dbt models of a stage as their YAML declares them."""
    declarations: list[dict[str, Any]] = []
    for file in sorted((folder / stage).glob("*.yml")):
        document = yaml_text.read(file.read_text(encoding="utf-8")) or {}
        declarations += document.get("models", [])
    return declarations


def known(stage: str, folder: Path = MODELS) -> Mapping[str, Relation]:
    """Every relation of a stage that exists by itself."""
    if stage == "landed":
        return {
            t.name: Relation(
                t.name,
                {c.name: c.type for c in t.columns}
                | {f"{c.name}_local": "timestamp" for c in t.columns if c.type == "datetime"}
                | {"latest_at": "timestamptz", "latest_day": "date"},
            )
            for t in load_contract().tables
        }
    if stage == "consolidated":
        return {
            t.name: Relation(t.name, {c.name: c.postgres for c in consolidated_columns(t)})
            for t in load_contract().tables
        }
    return models(folder, stage)


def computed(document: Mapping[str, Any], stage: str, where: str, folder: Path = MODELS) -> Relation:
    """The relation that a rule file computes.

    Raises:
        ContractError: it reads a model that does not exist, or bears a model's name.
    """
    name, query = document["table"], document["relation"]
    if stage not in ("conformed", "marts"):
        raise ContractError(f"{where}: stage {stage} has no computed relations", remedy="write rules on its tables")
    if name in models(folder, stage):
        raise ContractError(f"{where}: {name} is a model", remedy="give the computed relation a name of its own")
    for of, model in _READ.findall(query):
        if of not in ("conformed", "marts") or model not in models(folder, of):
            raise ContractError(
                f"{where}: there is no model {of}.{model}",
                remedy="name a model of dbt_project/models, or remove the file",
            )
    return Relation(name, document["columns"], query)
