"""An error is its fields: on the way through Spark, in a row, in what `explain` and alerts show. A sentence is made of them, and never read back."""

from __future__ import annotations

import ast
import itertools
import pickle
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from spark_here import Here

from estuaire.base.errors import ContractError, ErrorFields, EstuaireError, FileTruncated, StoreUnavailable, TaskFailed
from estuaire.base.settings import PROJECT_ROOT
from estuaire.runs.explain import stop_of
from estuaire.storage import error_columns
from spark_jobs.session import spread_survivors

ERRORS = [
    ContractError(
        "code map h39/organism.csv line 4: 'X' is no standard code of organism", remedy="write a standard code"
    ),
    StoreUnavailable("the object store did not answer", remedy="look at the store. Then run again"),
    TaskFailed("KeyError at land_file.py:3 in a Spark task", remedy="report it", hospital="h01", delivery="d1"),
    # each of these a sentence could not be read back from
    FileTruncated("file a: b. What to do: c", remedy="[E_X] d", hospital="h01", delivery="d 1: x", file="a: b.csv"),
    ContractError("table stay: it is wrong. file x", remedy="mend it...", hospital="h01", table="isolate"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.code)
def test_an_error_of_ours_in_a_spark_task_is_that_error_with_its_fields(error: EstuaireError) -> None:
    def fails(_: int) -> int:
        raise pickle.loads(pickle.dumps(error))  # noqa: S301 - our own, as it goes to a worker and back

    with pytest.raises(type(error)) as raised:
        spread_survivors(Here(), [(1, 0)], fails)
    assert raised.value.fields == error.fields
    assert str(raised.value) == str(error)
    assert raised.value.retryable == error.retryable


def test_what_a_packet_did_before_an_error_of_ours_is_not_given_as_if_it_were_all() -> None:
    done: list[int] = []

    def work(item: int) -> int:
        if item == 2:
            raise ContractError("it is wrong", remedy="mend it")
        done.append(item)
        return item

    with pytest.raises(ContractError):
        spread_survivors(Here(), [(1, n) for n in range(1, 4)], partial(work), per_core=1)
    assert 2 not in done


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.code)
def test_a_row_keeps_every_field(error: EstuaireError) -> None:
    row: dict[str, Any] = dict(zip(error_columns.NAMES, error_columns.values(error.fields), strict=True))
    assert error_columns.read(row) == error.fields
    assert error_columns.said(row | {"message": None}) == error.sentence()
    assert error_columns.said(row | {"message": "landing did not finish"}) == f"landing did not finish: {error}"
    assert error_columns.reasons(row | {"reasons": ""}) == error.sentence()
    assert error_columns.reasons(row | {"reasons": "a.rule: 1 of 2"}) == "a.rule: 1 of 2"


def test_a_row_without_an_error_has_none() -> None:
    row: dict[str, Any] = dict(zip(error_columns.NAMES, error_columns.values(None), strict=True))
    assert set(row.values()) == {None}
    assert error_columns.read(row) is None
    assert (error_columns.said(row | {"message": "a note"}), error_columns.said(row | {"message": None})) == (
        "a note",
        "",
    )


def test_a_text_that_an_older_ledger_kept_is_shown_as_it_stands() -> None:
    """Migration 0014 keeps whole what it cannot take apart."""
    row: dict[str, Any] = dict.fromkeys(error_columns.NAMES) | {"error_what": "ended: somehow"}
    error = error_columns.read(row)
    assert error == ErrorFields("", "ended: somehow", "")
    assert error is not None
    assert error.sentence() == "ended: somehow"
    stop = stop_of("load", error)
    assert (stop.where, stop.code, stop.what, stop.remedy) == ("load", "", "ended: somehow", "")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (ErrorFields("E_X", "it is wrong", "mend it"), "[E_X] it is wrong. What to do: mend it."),
        (
            ErrorFields("E_X", "it is wrong.", "mend it.", "h01", "d1", "stay", "s.csv"),
            "[E_X] delivery h01/d1: file s.csv: it is wrong. What to do: mend it.",
        ),
        (
            ErrorFields("E_X", "it is wrong", "mend it", "h01", table="stay"),
            "[E_X] delivery h01: table stay: it is wrong. What to do: mend it.",
        ),
        (
            ErrorFields("E_X", "it is \x1b[2J wrong", "mend\u202e it", "h01", "d\n1", file="f\x9b"),
            "[E_X] delivery h01/d\\n1: file f\\x9b: it is \\x1b[2J wrong. What to do: mend\\u202e it.",
        ),
    ],
)
def test_a_sentence_says_code_place_what_and_remedy(fields: ErrorFields, sentence: str) -> None:
    assert fields.sentence() == sentence


# ------------------------------------------------------------------------------------------------ nothing is read back

CODE = [p for folder in ("estuaire", "spark_jobs", "dags", "infra/airflow", "examples") for p in sorted((PROJECT_ROOT / folder).rglob("*.py"))]  # fmt: skip
MAKERS = {
    "estuaire/base/errors/fields.py",  # the one that makes sentences
    "estuaire/cli/tables.py",  # says of the registry's errors the same in fewer words
}
_TAKES_APART = {
    "partition", "rpartition", "split", "rsplit", "startswith", "endswith", "removeprefix", "removesuffix", "find", "index",
    "search", "match", "fullmatch", "findall", "finditer", "splitlines",
}  # fmt: skip
_SAID = {"sentence", "statement", "said", "reasons", "reason", "note"}  # what makes a text of an error or a verdict
_MARK = re.compile(r"What to do: |\[(\((\?P<\w+>)?)?E_|(message|reasons|error_what) like ")
_COLUMNS = {"message", "error", "reasons", "error_what", "error_remedy"}


def _reads_back(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, what) where a text that an error or a verdict was made into is taken apart, or its marks are looked for."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and id(node) not in docstrings else None
        if isinstance(text, str) and _MARK.search(text.replace("\\", "")):
            yield node.lineno, "a mark of a sentence"  # type: ignore[attr-defined] - a constant's
        if isinstance(node, ast.JoinedStr):
            for before, after in itertools.pairwise(node.values):
                code = isinstance(after, ast.FormattedValue) and ast.unparse(after.value).endswith("code")
                if (
                    code
                    and isinstance(before, ast.Constant)
                    and str(before.value).endswith("[")
                    and len(node.values) == 3
                ):
                    yield node.lineno, "the beginning of a sentence"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _TAKES_APART:
            for part in ast.walk(ast.Module([ast.Expr(x) for x in (node.func.value, *node.args)], [])):
                called = isinstance(part, ast.Call) and ast.unparse(part.func).rpartition(".")[2] in _SAID
                column = (
                    isinstance(part, ast.Subscript)
                    and isinstance(part.slice, ast.Constant)
                    and part.slice.value in _COLUMNS
                )
                named = isinstance(part, ast.Name) and part.id in {"sentence", "reasons", "reason"}
                if called or column or named:
                    yield node.lineno, f"{node.func.attr} of {ast.unparse(part)}"


@pytest.mark.parametrize(
    "planted",
    [
        'head, _, remedy = text.partition("What to do: ")',
        'found = re.search(r"\\[(E_\\w+)\\] ([^\\n]*)", text)',
        'held = row["reasons"].startswith(HELD)',
        'HELD = f"[{FullHeld.code}]"',
        'for reason in reasons.split("; "): pass',
        'code = error.sentence().split("]")[0]',
        "rows = fetch(\"select message from control.stage_run where message like 'not loaded%'\")",
    ],
)
def test_the_guard_sees_what_used_to_read_sentences_back(planted: str) -> None:
    assert list(_reads_back(ast.parse(planted)))


def test_no_sentence_is_read_back() -> None:
    assert len(CODE) > 200
    found = [
        f"{name}:{line}: {what}"
        for path in CODE
        if (name := str(path.relative_to(PROJECT_ROOT))) not in MAKERS
        for line, what in _reads_back(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []
