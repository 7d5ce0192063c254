"""Great Expectations: counts, per rule, the rows that break it. One suite per entity, one pass.

Ephemeral context, result format SUMMARY with no partial lists: a result never holds a patient's value. Each rule is a column of 0 and 1
(its expression translated by sqlglot to Spark SQL or PostgreSQL; 1 where a row breaks it), and an expectation that its sum is 0: all sums of
an entity are one query, where an expectation on each value would read the data once more per rule to list what it found. An exception
inside Great Expectations gives no count, never a failed rule.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote_plus

from estuaire.duck import unavailable
from estuaire.rules import Rule
from estuaire.settings import Settings
from spark_jobs import s3a

RESULT_FORMAT = {"result_format": "SUMMARY", "partial_unexpected_count": 0}
Counts = dict[str, int | None]  # rule id -> rows that break it; None where Great Expectations raised


def _import() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations

    # at its import it tells the task's log some hundred closures that it does not register
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    return great_expectations


def warm_up() -> None:
    """Import Great Expectations (seconds) in a thread, while the stage's own work goes on in Spark or dbt."""
    threading.Thread(target=_import, daemon=True, name="import-great-expectations").start()


@dataclass
class Suites:
    """An ephemeral context and the validation results of the suites that ran in it, by entity."""

    results: dict[str, Any] = field(default_factory=dict)
    _sources: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def _gx(self) -> Any:
        return _import()

    @cached_property
    def _context(self) -> Any:
        context = self._gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}
        return context

    def frame(self, name: str, frame: Any, rules: Sequence[Rule]) -> Counts:
        """Validate a Spark DataFrame that holds a column ``rule.mark`` per rule: how many rows break it there."""
        return self._validate(name, self._spark_batch(name, frame), rules)

    def _spark_batch(self, name: str, frame: Any) -> Any:
        source = self._sources.get("spark")
        if source is None:
            source = self._sources["spark"] = self._context.data_sources.add_spark(name="written", persist=False)
        return (
            source.add_dataframe_asset(name=name)
            .add_batch_definition_whole_dataframe("all")
            .get_batch(batch_parameters={"dataframe": frame})
        )

    def view(self, settings: Settings, name: str, schema: str, view: str, rules: Sequence[Rule]) -> Counts:
        """Validate a PostgreSQL view that holds a column ``rule.mark`` per rule: 1 where a row breaks it, else 0."""
        source = self._sources.get("postgres")
        if source is None:
            source = self._sources["postgres"] = self._context.data_sources.add_sql(
                name="candidate", connection_string=_url(settings), create_temp_table=False
            )
        batch = (
            source.add_table_asset(name=name, table_name=view, schema_name=schema)
            .add_batch_definition_whole_table("all")
            .get_batch()
        )
        return self._validate(name, batch, rules)

    def close(self) -> None:
        """Let go of the database."""
        source = self._sources.get("postgres")
        if source is not None:
            source.get_engine().dispose()

    def _validate(self, name: str, batch: Any, rules: Sequence[Rule]) -> Counts:
        none = self._gx.expectations.ExpectColumnSumToBeBetween
        expectations = [none(column=r.mark, min_value=0, max_value=0, **_about(r)) for r in rules]
        validated = batch.validate(
            self._gx.ExpectationSuite(name=name, expectations=expectations), result_format=RESULT_FORMAT
        )
        if any(s3a.failed(str(r.exception_info)) for r in validated.results):
            raise unavailable()  # Great Expectations swallowed it; a count that is missing for this is no finding
        self.results[name] = validated
        return _counts(validated)


def breaks(condition: str) -> str:
    """SQL of a rule's column: 1 where a row breaks the condition (true, false or unknown, which is no breach), else 0."""
    return f"case when ({condition}) is false then 1 else 0 end"


def _about(rule: Rule) -> dict[str, Any]:
    limit = f", {rule.threshold:.1%}" if rule.threshold else ""
    label = f"{rule.id} ({rule.action}{limit}): {rule.label_en} / {rule.label_fr}"
    return {"meta": {"rule": rule.id, "label": label}}


def _counts(validated: Any) -> Counts:
    found: Counts = {}
    for result in validated.results:
        count = None
        if not (result.exception_info or {}).get("raised_exception", False):
            count = result.result["observed_value"] or 0  # of no rows the sum is null
        found[result.expectation_config.meta["rule"]] = None if count is None else int(count)
    return found


def _url(settings: Settings) -> str:
    """SQLAlchemy's address of the warehouse: libpq's own keys, the password from its passfile."""
    keys: Mapping[str, str] = {
        "host": settings.postgres_host or str(settings.socket_dir),
        "port": str(settings.postgres_port),
        "passfile": str(settings.passfile),
        "application_name": "estuaire",
    }
    query = "&".join(f"{name}={quote_plus(value)}" for name, value in keys.items())
    return f"postgresql+psycopg2://estuaire@/{settings.postgres_database}?{query}"


def frame_of_files(spark: Any, paths: Sequence[str], columns: Sequence[str]) -> Any:
    """SQL expressions over Parquet files of one kernel."""
    # one file's schema is all files': without it Spark opens the footer of each
    schema = spark.read.parquet(paths[0]).schema
    return spark.read.schema(schema).parquet(*paths).selectExpr(*columns)
