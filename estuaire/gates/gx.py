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
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from estuaire.rules.rule_registry import Rule
from estuaire.storage import s3a
from estuaire.storage.database import Database
from estuaire.storage.duck import store_error

_SPARK_LANES = 2  # the second gains a fifth, a third nothing (two cores); over PostgreSQL, beside the native count, it lost a fifth
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
    """An ephemeral context and the validation results of the suites that ran in it, by entity.

    Suites over Spark run on two lanes: while one waits for its query, the other plans its own. A lane has a data source, and so an engine, of
    its own (an engine holds the batch that it works on); what writes to the context they share is done one at a time.
    """

    results: dict[str, Any] = field(default_factory=dict)
    _sources: dict[str, Any] = field(default_factory=dict)
    _context_lock: Any = field(default_factory=threading.Lock)

    @cached_property
    def _gx(self) -> Any:
        return _import()

    @cached_property
    def _context(self) -> Any:
        context = self._gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}
        return context

    def frames(self, frames: Mapping[str, tuple[Callable[[], Any], Sequence[Rule]]]) -> dict[str, Counts]:
        """Validate Spark DataFrames (name -> what makes it, its rules) that hold a column ``rule.mark`` per rule.

        Returns: name -> rule id -> how many rows break it there.

        Raises:
            StoreUnavailable: the store did not answer a read.
        """

        def batch(lane: str, name: str) -> Any:
            frame = frames[name][0]()
            with self._context_lock:
                source = self._sources.get(lane)
                if source is None:
                    source = self._sources[lane] = self._context.data_sources.add_spark(name=lane, persist=False)
                definition = source.add_dataframe_asset(name=name).add_batch_definition_whole_dataframe("all")
                return definition.get_batch(batch_parameters={"dataframe": frame})

        return self._on_lanes(_SPARK_LANES, {name: rules for name, (_, rules) in frames.items()}, batch)

    def views(
        self, database: Database, schema: str, views: Mapping[str, tuple[str, Sequence[Rule]]]
    ) -> dict[str, Counts]:
        """Validate PostgreSQL views (name -> view, its rules) that hold a column ``rule.mark`` per rule: 1 where a row breaks it, else 0."""

        def batch(lane: str, name: str) -> Any:
            with self._context_lock:
                source = self._sources.get(lane)
                if source is None:
                    source = self._sources[lane] = self._context.data_sources.add_sql(
                        name=lane, connection_string=database.sqlalchemy_url(), create_temp_table=False
                    )
                asset = source.add_table_asset(name=name, table_name=views[name][0], schema_name=schema)
                return asset.add_batch_definition_whole_table("all").get_batch()

        return self._on_lanes(1, {name: rules for name, (_, rules) in views.items()}, batch)

    def _on_lanes(
        self, count: int, suites: Mapping[str, Sequence[Rule]], batch: Callable[[str, str], Any]
    ) -> dict[str, Counts]:
        lanes = iter(range(count))
        thread_local = threading.local()

        def begin() -> None:
            thread_local.lane = f"lane {next(lanes)}"

        def run(name: str) -> Any:
            return self._validated(name, batch(thread_local.lane, name), suites[name])

        _ = self._context  # made once, by this thread
        with ThreadPoolExecutor(count, thread_name_prefix="gate", initializer=begin) as pool:
            pending = {name: pool.submit(run, name) for name in suites}
            try:
                validated = {name: future.result() for name, future in pending.items()}
            except BaseException:  # where the store is gone, each of the others would wait for it as long
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        self.results |= validated
        return {name: _counts(result) for name, result in validated.items()}

    def close(self) -> None:
        """Let go of the database (only for suites over views)."""
        for source in self._sources.values():
            source.get_engine().dispose()

    def _validated(self, name: str, batch: Any, rules: Sequence[Rule]) -> Any:
        none = self._gx.expectations.ExpectColumnSumToBeBetween
        expectations = [none(column=r.mark, min_value=0, max_value=0, **_about(r)) for r in rules]
        validated = batch.validate(
            self._gx.ExpectationSuite(name=name, expectations=expectations), result_format=RESULT_FORMAT
        )
        told = next((t for r in validated.results if s3a.failed(t := str(r.exception_info))), None)
        if told is not None:
            raise store_error(told)  # Great Expectations swallowed it; a count that is missing for this is no finding
        return validated


def breaks(condition: str) -> str:
    """SQL of a rule's column: 1 where a row breaks the condition (true, false or unknown, which is no breach), else 0."""
    return f"case when ({condition}) is false then 1 else 0 end"


def _about(rule: Rule) -> dict[str, Any]:
    limit = f", {rule.threshold:.1%}" if rule.threshold else ""
    label = f"{rule.id} ({rule.action}{limit}): {rule.label_en} / {rule.label_fr}"
    return {"meta": {"rule": rule.id, "label": label}}


def _counts(validated: Any) -> Counts:
    counts: Counts = {}
    for result in validated.results:
        count = None
        if not (result.exception_info or {}).get("raised_exception", False):
            count = result.result["observed_value"] or 0  # of no rows the sum is null
        counts[result.expectation_config.meta["rule"]] = None if count is None else int(count)
    return counts


def frame_of_files(spark: Any, paths: Sequence[str], columns: Sequence[str]) -> Any:
    """SQL expressions over Parquet files of one kernel."""
    # one file's schema is all files': without it Spark opens the footer of each
    schema = spark.read.parquet(paths[0]).schema
    return spark.read.schema(schema).parquet(*paths).selectExpr(*columns)
