"""Only estuaire/storage/lake.py writes the lake's catalog: read from the source of every module, f-strings included."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from estuaire.base.settings import PROJECT_ROOT

WRITER = Path("estuaire/storage/lake.py")
FOLDERS = ("estuaire", "spark_jobs", "dags", "infra")
BANNED_EVERYWHERE = re.compile(r"delete_orphaned_files")  # it deleted files written and not yet registered
WRITES = re.compile(
    r"ducklake_add_data_files|set_commit_message|ducklake_expire_snapshots|ducklake_merge_adjacent_files|ducklake_rewrite|"
    r"ducklake_cleanup|ducklake_flush|ducklake_set_option|"
    r"\b(call|from)\s+(lake|\{\})\s*\.\s*(set_option|expire_snapshots|merge_adjacent_files|cleanup_old_files)|"
    r"\b(insert\s+into|update|delete\s+from|merge\s+into|truncate(\s+table)?)\s+(lake|\{_NAME\})\s*\.|"
    r"\b(create|alter|drop)(\s+or\s+replace)?\s+(table|schema|view)\s+(if\s+(not\s+)?exists\s+)?(lake|\{_NAME\})\s*\.|"
    r"\b(insert\s+into|update|delete\s+from|truncate(\s+table)?)\s+[\w.{}]*ducklake_",
    re.IGNORECASE,
)
ATTACH = re.compile(r"\battach\b.*ducklake:|^ducklake:", re.IGNORECASE | re.DOTALL)


def _texts(source: str) -> list[tuple[int, str]]:
    """(line, text) of every string of a module; an f-string's holes are written as they stand."""
    found = []
    inside: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = []
            for value in node.values:
                inside.update(id(n) for n in ast.walk(value))
                parts.append(
                    str(value.value) if isinstance(value, ast.Constant) else "{" + ast.unparse(value.value) + "}"  # type: ignore[attr-defined]
                )
            found.append((node.lineno, "".join(parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            found.append((node.lineno, node.value))
    return found


def violations(source: str, module: Path) -> list[str]:
    """What a module may not do to the lake's catalog."""
    found = []
    for line, text in _texts(source):
        if BANNED_EVERYWHERE.search(text):
            found.append(f"{module}:{line}: delete_orphaned_files is banned")
        if module != WRITER and WRITES.search(text):
            found.append(f"{module}:{line}: writes the lake's catalog")
        if module != WRITER and ATTACH.search(text) and "read_only" not in text.lower():
            found.append(f"{module}:{line}: attaches the lake for writing")
    if module != WRITER and re.search(r"\b_writing\(|read_only\s*=\s*False", source):
        found.append(f"{module}: opens the lake for writing")
    return found


def modules() -> list[Path]:
    return sorted(
        p.relative_to(PROJECT_ROOT) for folder in FOLDERS for p in (PROJECT_ROOT / folder).rglob("*.py") if p.is_file()
    )


def test_only_one_module_writes_the_catalog() -> None:
    scanned = modules()
    assert len(scanned) > 50
    assert {WRITER, Path("spark_jobs/land.py"), Path("estuaire/warehouse/query.py")} <= set(scanned)
    found = [v for m in scanned for v in violations((PROJECT_ROOT / m).read_text(encoding="utf-8"), m)]
    assert found == []


def test_the_lint_sees_the_writer_itself() -> None:
    """The same source under another name is full of violations: the patterns are the ones really used."""
    found = violations((PROJECT_ROOT / WRITER).read_text(encoding="utf-8"), Path("estuaire/other.py"))
    lines = {v.split(": ", 1)[1] for v in found}
    assert lines == {"writes the lake's catalog", "opens the lake for writing", "attaches the lake for writing"}
    assert len(found) > 6


@pytest.mark.parametrize(
    "planted",
    [
        "c.execute(f\"call ducklake_add_data_files('lake', '{t}', '{p}')\")",
        'c.execute("DELETE FROM lake.consolidated.patient WHERE hospital_id = ?")',
        "c.execute(\"call lake.set_option('data_inlining_row_limit', 10)\")",
        "c.execute(\"update lake.ducklake_table set table_name = 'x'\")",
        'c.execute("create table if not exists lake.landed.x (a int)")',
        'c.execute("insert into lake.landed.patient select 1")',
        "c.execute(\"attach 'ducklake:postgres:x' as lake\")",
        "c.execute(\"call ducklake_delete_orphaned_files('lake', cleanup_all => true)\")",
        "with lake.connection(read_only=False) as c: pass",
    ],
)
def test_a_planted_violation_is_found(planted: str) -> None:
    assert violations(planted, Path("spark_jobs/load.py"))


def test_reading_is_no_violation() -> None:
    source = (
        'c.execute("select * from lake.consolidated.patient at (version => 3)")\n'
        "c.execute(\"attach 'ducklake:postgres:x' as lake (read_only)\")\n"
        "c.execute(f\"select data_file from ducklake_list_files('{n}', '{t}')\")\n"
    )
    assert violations(source, Path("estuaire/warehouse/query.py")) == []
