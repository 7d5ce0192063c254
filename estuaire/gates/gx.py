"""Great Expectations over Spark: counts, per rule, the rows of written files that break it. One suite per entity, one pass.

Ephemeral context, result format SUMMARY with no partial lists: a result never holds a patient's value. Each rule's expression becomes
a boolean column (translated to Spark SQL by sqlglot), and an expectation that the column is always true.
"""

from __future__ import annotations

import os
from typing import Any

from estuaire.contracts import load_contract
from estuaire.rules import Rule

RESULT_FORMAT = {"result_format": "SUMMARY", "partial_unexpected_count": 0}


def _columns(table: str, rules: tuple[Rule, ...]) -> list[str]:
    key = load_contract().table(table).key
    columns = []
    for i, rule in enumerate(rules):
        always = rule.implied and rule.columns[0] in key
        applies = "" if always else "op = 'delete' or "
        columns.append(f"({applies}coalesce({rule.sql('spark')}, true)) as rule_{i}")
    return columns


def count_broken(spark: Any, paths: list[str], table: str, rules: tuple[Rule, ...]) -> dict[str, int | None]:
    """Rule id -> rows of these Parquet files that break it; None where Great Expectations raised."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    from great_expectations import expectations as gxe

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    # one file's schema is all files': the same kernel wrote them; without it Spark opens the footer of each
    schema = spark.read.parquet(paths[0]).schema
    frame = spark.read.schema(schema).parquet(*paths).selectExpr(*_columns(table, rules))
    source = context.data_sources.add_spark(name="written", persist=False)
    batch = (
        source.add_dataframe_asset(name=table)
        .add_batch_definition_whole_dataframe("all")
        .get_batch(batch_parameters={"dataframe": frame})
    )
    suite = gx.ExpectationSuite(
        name=table,
        expectations=[
            gxe.ExpectColumnValuesToBeInSet(column=f"rule_{i}", value_set=[True], meta={"rule": rule.id})
            for i, rule in enumerate(rules)
        ],
    )
    found: dict[str, int | None] = dict.fromkeys(r.id for r in rules)
    for result in batch.validate(suite, result_format=RESULT_FORMAT).results:
        rule_id = result.expectation_config.meta["rule"]
        raised = (result.exception_info or {}).get("raised_exception", False)
        count = result.result.get("unexpected_count") if not raised else None
        if not raised and result.result.get("element_count") == 0:
            count = 0  # of no rows at all Great Expectations gives no count
        found[rule_id] = None if count is None else int(count)
    return found
