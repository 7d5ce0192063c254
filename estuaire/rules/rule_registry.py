"""The rule registry: ``expectations/<stage>/<entity>.yml``, plus the rules that the contract itself implies.

A rule is one boolean SQL expression per row, in a subset that DuckDB, Spark and PostgreSQL read alike (``estuaire.rules.rule_subset``), or a
key whose rows must be unique. It drives counts (and in landing the quarantine) natively, and the Great Expectations suite that gates the
stage is made from the same expression. A null result means the rule does not apply to the row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema

from estuaire.base import json_schema, yaml_text
from estuaire.base.errors import ContractError
from estuaire.base.settings import PROJECT_ROOT
from estuaire.base.sql import literal, texts
from estuaire.contract import mapped_share
from estuaire.contract.codes import code_systems
from estuaire.contract.registry import GROUP
from estuaire.contract.tables import Column, Table, load_contract
from estuaire.rules import rule_relations
from estuaire.rules.rule_relations import MODELS, Relation
from estuaire.rules.rule_subset import check_expression, check_texts, translated

FOLDER = PROJECT_ROOT / "expectations"
THE_GROUP = "{the_group}"  # in a rule file: the text that stands for all hospitals together, as the macro of that name is in a model
ORPHAN_SHARE, ORPHAN_BLOCK = 0.005, 0.2  # docs/domain/quality.md; above the second the tables do not belong together
SHARE_MIN_ROWS = 500  # a share of fewer rows says too little to block a hospital
# dates: nothing that a hospital's systems hold happened before, and nothing is planned beyond what the clock knows (estuaire.kernel.clock)
EARLIEST, LATEST = "1970-01-01", "2250-01-01"
_LISTED_CODES = 50  # a longer system (organisms) is a seed, which the models' own tests compare with
_ID_LENGTH = 60  # it names a column of a PostgreSQL view, "." written "__"


@dataclass(frozen=True)
class Rule:
    """One rule. ``action`` quarantine drops the record (kept in landing), warn flags it, fail blocks.

    Attributes:
        threshold: share of the rows to which the rule applies that may break it, before a warn rule warns or a fail rule blocks.
        block_above: share above which a warn rule blocks, too.
        min_rows: with fewer rows checked the rule warns where it would block.
        confidence: blocks where the exact lower bound of the share, one-sided at this confidence, is not below the one that blocks: few
            rows block where chance is excluded, and warn where it is not.
        unique: key columns that no two rows may share: the rows beyond the first of a key break the rule, in conformed and marts also
            those that lack a part of it. ``expression`` is empty.
        when: condition of the rows to which the expression applies.
        needs_real_calendar: does not apply to hospitals whose dates are shifted.
        implied: by the contract, in no file.
    """

    id: str
    version: int
    table: str
    category: str
    severity: str
    action: str
    threshold: float
    owner: str
    label_fr: str
    label_en: str
    expression: str
    columns: tuple[str, ...]
    implied: bool = False
    unique: tuple[str, ...] = ()
    when: str = ""
    needs_real_calendar: bool = False
    block_above: float | None = None
    min_rows: int = 0
    confidence: float | None = None

    @property
    def blocking_share(self) -> float | None:
        """Share above which the rule blocks; None for one that only warns."""
        return self.threshold if self.action == "fail" else self.block_above

    def sql(self, dialect: str, shifted: Collection[str] = ()) -> str:
        """The expression in ``duckdb``, ``spark`` or ``postgres``; null where the rule does not apply.

        Args:
            shifted: hospitals without real dates.
        """
        if self.needs_real_calendar and shifted:
            condition = f"hospital_id not in ({texts(sorted(shifted))})" + (f" and ({self.when})" if self.when else "")
        else:
            condition = self.when
        text = f"case when {condition} then ({self.expression}) end" if condition else self.expression
        return translated(text, dialect)

    @property
    def mark(self) -> str:
        """Name of the rule's boolean column where Great Expectations reads it."""
        return self.id.replace(".", "__")


def implied_rules(table: Table, stage: str = "landed") -> list[Rule]:
    """What the contract asks: required columns and, landing, no event in the future; once consolidated keys, references, code systems,
    mapped shares, nothing that a full delivery omitted without our knowing when it was, and no stale correction."""
    owner: dict[str, Any] = {"version": 1, "table": table.name, "owner": "contract", "implied": True}
    if stage != "consolidated":
        return [*_required(table, {}, "quarantine", owner), *_future(table, owner), *_ranges(table, owner)]
    # an unmapped code is null: what must be present is the hospital's own
    source = {c.name: f"{c.name}_source" for c in table.columns if c.type == "code"}
    return [
        *_required(table, source, "fail", owner),
        *_omitted(table, owner),
        *_keys(table, tuple(source.get(k, k) for k in table.key), owner),
        *_whose(table, owner),
        *_references(table, owner),
        *_listed(table, owner),
        *_mapped(table, owner),
        _stale(table, owner),
    ]


def _required(table: Table, source: Mapping[str, str], action: str, owner: dict[str, Any]) -> list[Rule]:
    return [
        Rule(
            id=f"{table.name}.{c.name}.required",
            category="completeness", severity="error", action=action, threshold=0.0,
            label_fr=f"{c.label_fr} : présence obligatoire", label_en=f"{c.label_en}: must be present",
            expression=f"{source.get(c.name, c.name)} is not null", columns=(source.get(c.name, c.name),), **owner,
        )
        for c in table.columns
        if c.required
    ]  # fmt: skip


def _future(table: Table, owner: dict[str, Any]) -> list[Rule]:
    return [
        Rule(
            id=f"{table.name}.{c.name}.future",
            category="plausibility_temporal", severity="error", action="quarantine", threshold=0.0,
            label_fr=f"{c.label_fr} : pas plus d'un jour après l'extraction",
            label_en=f"{c.label_en}: no more than a day after the extraction",
            expression=f"{c.name} <= {'latest_day' if c.type == 'date' else 'latest_at'}", columns=(c.name,), **owner,
        )
        for c in table.columns
        if c.type in ("date", "datetime") and not c.may_be_planned
    ]  # fmt: skip


def _ranges(table: Table, owner: dict[str, Any]) -> list[Rule]:
    return [_range(table, c, owner) for c in table.columns if c.type in ("date", "datetime")]


def _omitted(table: Table, owner: dict[str, Any]) -> list[Rule]:
    if not table.period_parent:
        return []
    return [
        _unflagged(
            f"{table.name}.omitted.undated",
            f"Omis d'une livraison complète et gardé, car {table.period_parent.table} ne le date pas",
            f"Omitted by a full delivery and kept, as no {table.period_parent.table} dates it",
            category="conformance_relational",
            **owner,
        )
    ]


def _keys(table: Table, key: tuple[str, ...], owner: dict[str, Any]) -> list[Rule]:
    unique = Rule(
        id=f"{table.name}.key.unique",
        category="plausibility_uniqueness", severity="error", action="fail", threshold=0.0,
        label_fr="Une seule version en vigueur par clé", label_en="One current version per key",
        expression="", columns=key, unique=key, **owner,
    )  # fmt: skip
    twice = _unflagged(
        f"{table.name}.key.twice",
        "Une livraison ne tient qu'un enregistrement par clé (de deux différents, le dernier est servi)",
        "A delivery holds one record per key (of two different ones the last is served)",
        category="plausibility_uniqueness",
        **owner,
    )
    return [unique, twice]


def _whose(table: Table, owner: dict[str, Any]) -> list[Rule]:
    if not any(c.pseudonym is not None and c.name == "patient_id" for c in table.columns):
        return []
    return [
        _unflagged(
            f"{table.name}.patient_id.unknown",
            "L'identifiant de patient désigne quelqu'un (pas ANONYME, INCONNU, 0)",
            "The patient identifier names somebody (not ANONYME, INCONNU, 0)",
            category="plausibility_atemporal",
            **owner,
        ),
        _unflagged(
            f"{table.name}.patient_id.not_one_person",
            "Les enregistrements de l'identifiant de patient peuvent être d'une seule personne",
            "The records of the patient identifier can be one person's",
            category="plausibility_atemporal",
            **owner,
        ),
    ]


def _references(table: Table, owner: dict[str, Any]) -> list[Rule]:
    return [
        _unflagged(
            f"{table.name}.{reference.columns[-1]}.orphan",
            f"{reference.table} : la référence se résout",
            f"{reference.table}: the reference resolves",
            category="conformance_relational",
            threshold=ORPHAN_SHARE,
            columns=("flags", *reference.columns),
            when=" and ".join(f"{c} is not null" for c in reference.columns),
            block_above=ORPHAN_BLOCK,
            min_rows=SHARE_MIN_ROWS,
            **owner,
        )
        for reference in table.references
        if reference.table != table.name
    ]


def _listed(table: Table, owner: dict[str, Any]) -> list[Rule]:
    """Of columns whose code system is short enough to stand in a rule."""
    systems = {c.name: code_systems().get(c.code_system or "") for c in table.columns}
    return [
        Rule(
            id=f"{table.name}.{c.name}.code",
            category="conformance_value", severity="error", action="fail", threshold=0.0,
            label_fr=f"{c.label_fr} : code du référentiel", label_en=f"{c.label_en}: a code of its system",
            expression=f"{c.name} in ({texts(sorted(system.values))})", columns=(c.name,), **owner,
        )
        for c in table.columns
        if (system := systems[c.name]) is not None and 0 < len(system.values) <= _LISTED_CODES
    ]  # fmt: skip


def _mapped(table: Table, owner: dict[str, Any]) -> list[Rule]:
    return [_mapped_share(table, c, owner) for c in table.columns if c.type == "code"]


def _mapped_share(table: Table, c: Column, owner: dict[str, Any]) -> Rule:
    read = mapped_share.is_read(table, c)
    share = mapped_share.limit(c)
    flags = ("flags",) if mapped_share.in_text_flag(table.name, c.name) else ()
    return Rule(
        id=mapped_id(table, c),
        category="conformance_value", severity="error" if read else "info", action="fail" if read else "warn", threshold=share,
        label_fr=f"{c.label_fr} : codes traduits ({1 - share:.0%})".replace("%", " %"),
        label_en=f"{c.label_en}: codes mapped ({1 - share:.0%})",
        expression=mapped_share.expression(table.name, c.name), columns=(*flags, c.name, f"{c.name}_source"),
        when=f"{c.name}_source is not null", confidence=mapped_share.CONFIDENCE, **owner,
    )  # fmt: skip


def _stale(table: Table, owner: dict[str, Any]) -> Rule:
    return Rule(
        id=f"{table.name}.stale_correction",
        category="plausibility_temporal", severity="warning", action="warn", threshold=0.0,
        label_fr="Aucune correction plus récente en quarantaine", label_en="No newer version is quarantined",
        expression="not stale_correction", columns=("stale_correction",), **owner,
    )  # fmt: skip


def _unflagged(
    flag: str,
    label_fr: str,
    label_en: str,
    *,
    columns: tuple[str, ...] = ("flags",),
    threshold: float = 0.0,
    **more: Any,
) -> Rule:
    """A rule that warns of the records on which the platform noted ``flag``, its id."""
    return Rule(
        id=flag,
        severity="warning",
        action="warn",
        threshold=threshold,
        label_fr=label_fr,
        label_en=label_en,
        expression=f"coalesce(strpos(flags, {literal(flag)}), 0) = 0",
        columns=columns,
        **more,
    )


def _range(table: Table, column: Column, owner: dict[str, Any]) -> Rule:
    """A date within what its meaning allows: from ``earliest`` on; of one that may be planned also an end, as no extraction bounds it."""
    first = (column.earliest or date.fromisoformat(EARLIEST)).isoformat()
    day = column.name if column.type == "date" else f"cast({column.name}_local as date)"
    columns = (column.name,) if column.type == "date" else (f"{column.name}_local",)
    end = f" and {day} < cast({literal(LATEST)} as date)" if column.may_be_planned else ""
    return Rule(
        id=f"{table.name}.{column.name}.range",
        category="plausibility_atemporal", severity="error", action="quarantine", threshold=0.0,
        label_fr=f"{column.label_fr} : à partir de {first[:4]}" + (f", avant {LATEST[:4]}" if end else ""),
        label_en=f"{column.label_en}: from {first[:4]} on" + (f", before {LATEST[:4]}" if end else ""),
        expression=f"{day} >= cast({literal(first)} as date){end}", columns=columns, **owner,
    )  # fmt: skip


def mapped_id(table: Table, column: Column) -> str:
    """Id of the rule on a coded column's mapped share."""
    return f"{table.name}.{column.name}.mapped"


def _rule(raw: dict[str, Any], relation: Relation, stage: str, place: str) -> Rule:
    expression, when, unique = raw.get("expression", ""), raw.get("when", ""), tuple(raw.get("unique", ()))
    columns = set(unique)
    for text in filter(None, (expression, when)):
        columns |= set(check_expression(text, place))
        check_texts(text, relation.texts, place)
    if raw.get("needs_real_calendar"):
        columns.add("hospital_id")
    for name in sorted(columns):
        if name not in relation.columns:
            raise ContractError(f"{place}: {relation.name} has no column {name}", remedy="name a column of the table")
    if not raw["id"].startswith(f"{relation.name}."):
        raise ContractError(
            f"{place}: the id does not begin with its table", remedy=f"name it {relation.name}.…, in letters and digits"
        )
    if len(raw["id"].replace(".", "__")) > _ID_LENGTH:
        raise ContractError(f"{place}: the id is too long", remedy=f"at most {_ID_LENGTH} characters, '.' counts twice")
    beyond = {"unique", "when", "needs_real_calendar", "block_above", "min_rows", "confidence"} & set(raw)
    if stage == "landed" and beyond:
        raise ContractError(
            f"{place}: {', '.join(sorted(beyond))} is not for landing, which looks at one record at a time",
            remedy="write the rule for a later stage",
        )
    if stage != "landed" and raw["action"] == "quarantine":
        raise ContractError(f"{place}: only landing quarantines records", remedy="choose warn or fail")
    return Rule(
        id=raw["id"],
        version=raw["version"],
        table=relation.name,
        category=raw["category"],
        severity=raw["severity"],
        action=raw["action"],
        threshold=raw["threshold"],
        owner=raw["owner"],
        label_fr=raw["label"]["fr"],
        label_en=raw["label"]["en"],
        expression=expression,
        columns=tuple(sorted(columns)),
        unique=unique,
        when=when,
        needs_real_calendar=raw.get("needs_real_calendar", False),
        block_above=raw.get("block_above"),
        min_rows=raw.get("min_rows", 0),
        confidence=raw.get("confidence"),
    )


def _parse(document: Any, stage: str, where: str, models: Path) -> tuple[Relation, list[Rule]]:
    try:
        json_schema.validate(document, FOLDER / "rules.schema.json")
    except jsonschema.ValidationError as error:
        raise ContractError(
            f"{where} at {error.json_path}: {error.message}", remedy="correct the file; rules.schema.json says the form"
        ) from error
    if "relation" in document:
        relation = rule_relations.computed(document, stage, where, models)
    else:
        relations = rule_relations.known(stage, models)
        if document["table"] not in relations:
            raise ContractError(
                f"{where}: stage {stage} has no table or model {document['table']}",
                remedy="correct the name, or remove the file if the model is gone",
            )
        relation = relations[document["table"]]
    return relation, [_rule(raw, relation, stage, f"{where}, rule {raw['id']}") for raw in document["rules"]]


@dataclass(frozen=True)
class StageRules:
    """Rules of a stage by table, and the relations that they are about."""

    rules: dict[str, tuple[Rule, ...]]
    relations: dict[str, Relation]


@lru_cache(maxsize=16)
def stage_rules(stage: str, folder: Path = FOLDER, models: Path = MODELS) -> StageRules:
    """Rules of a stage and their relations; the contract's implied rules first.

    Raises:
        ContractError: a file does not follow rules.schema.json, names a table, model or column that does not exist, an expression
            leaves the subset, an id stands twice.
    """
    rules: dict[str, list[Rule]] = {}
    relations: dict[str, Relation] = {}
    if stage in ("landed", "consolidated"):
        relations = dict(rule_relations.known(stage, models))
        rules = {t.name: implied_rules(t, stage) for t in load_contract().tables}
    for file in sorted((folder / stage).glob("*.yml")):
        document = yaml_text.read(file.read_text(encoding="utf-8").replace(THE_GROUP, literal(GROUP)))
        relation, file_rules = _parse(document, stage, f"{stage}/{file.name}", models)
        relations[relation.name] = relation
        # a file says more of one column's mapped share, or of one date, than the contract implies
        said = {r.id for r in file_rules if r.id.endswith(".mapped")}
        if stage == "landed":
            for r in file_rules:
                place, _, about = r.id.rpartition(".")
                said |= {f"{place}.range"} if about in ("range", "placeholder") else set()
        rules[relation.name] = [
            r for r in rules.get(relation.name, []) if not (r.implied and r.id in said)
        ] + file_rules
    ids = [r.id for rs in rules.values() for r in rs]
    if len(set(ids)) != len(ids):
        raise ContractError(f"a rule id of stage {stage} stands twice", remedy="give each rule its own id")
    return StageRules({name: tuple(rs) for name, rs in rules.items()}, relations)


def load_rules(stage: str = "landed", folder: Path = FOLDER, models: Path = MODELS) -> dict[str, tuple[Rule, ...]]:
    """Rules of a stage by table (see ``stage_rules``)."""
    return stage_rules(stage, folder, models).rules
