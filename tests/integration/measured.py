"""What the page of metrics should say of a platform, counted anew: rows are read whole and counted here, files are looked at on the disk."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from small_platform import SmallPlatform

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Samples:
    """Samples of a page, by name and labels; a pair that comes twice is refused."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def of(samples: Samples, name: str) -> dict[tuple[str, ...], float]:
    """Values of one metric, by its labels' values in the labels' alphabetical order."""
    return {tuple(v for _, v in sorted(labels)): value for (n, labels), value in samples.items() if n == name}


def _newest(rows: list[Any], key: int, at: int) -> list[Any]:
    """Of rows with the same first ``key`` fields, the one whose field ``at`` is the latest."""
    newest: dict[Any, Any] = {}
    for row in sorted(rows, key=lambda r: r[at]):
        newest[row[:key]] = row
    return list(newest.values())


def recounted(platform: SmallPlatform) -> dict[str, dict[tuple[str, ...], float]]:
    """Metric -> labels' values (in the labels' alphabetical order) -> value, without a query that groups."""
    expected: dict[str, dict[tuple[str, ...], float]] = {}
    known = (
        {p.stem for p in (platform.settings.registry_dir / "hospitals").glob("*.yml")}
        if platform.settings.registry_dir
        else None
    )
    deliveries = platform.ask("select hospital_id, state, received_at, updated_at from control.delivery")
    named = [(h if known is None or h in known else "unknown", s, r, u) for h, s, r, u in deliveries]
    expected["estuaire_deliveries"] = dict(Counter((h, s) for h, s, _, _ in named))
    expected["estuaire_delivery_last_received_timestamp_seconds"] = _latest(
        [(h, r) for h, s, r, _ in named if s != "withdrawn"]
    )
    expected["estuaire_delivery_last_landed_timestamp_seconds"] = _latest(
        [(h, u) for h, s, _, u in named if s == "landed"]
    )

    started = {
        (run, stage, token): at
        for run, stage, token, at in platform.ask("select run_id, stage, token, started_at from control.stage_run")
    }
    columns = ("out", "quarantined", "superseded", "unparseable", "not_loaded")
    rows = platform.ask(
        "select stage, hospital_id, delivery_id, table_name, run_id, token, " + ", ".join(f"rows_{c}" for c in columns)
        + " from control.accounting"
    )  # fmt: skip
    accounts = _newest([(*r, started[r[4], r[0], r[5]]) for r in rows], 4, 6 + len(columns))
    records: Counter[tuple[str, ...]] = Counter()
    for account in accounts:
        for column, value in zip(columns, account[6:], strict=False):
            records[column, account[0], account[3]] += value  # disposition, stage, table
    expected["estuaire_records"] = dict(records)
    expected["estuaire_rejected_records"] = dict(
        Counter(platform.ask("select hospital_id, state from control.rejected_record"))
    )

    runs = dict(platform.ask("select run_id, started_at from control.run"))
    verdicts = platform.ask("select stage, hospital_id, delivery_id, verdict, run_id from quality.verdict")
    newest = _newest([(*v, runs[v[4]]) for v in verdicts], 3, 5)
    expected["estuaire_verdicts"] = dict(Counter((v[0], v[3]) for v in newest))
    last: dict[str, tuple[datetime, str]] = {}
    for stage, _, _, _, run in verdicts:
        last[stage] = max(last.get(stage, (runs[run], run)), (runs[run], run))
    results = platform.ask("select stage, status, run_id from quality.result")
    expected["estuaire_rule_results"] = dict(
        Counter((g, s) for g, s, run in results if last.get(g, ("", ""))[1] == run)
    )
    expected |= _of_runs(platform) | _of_what_is_held(platform)
    return expected


def _latest(pairs: list[tuple[str, datetime]]) -> dict[tuple[str, ...], float]:
    return {(h,): max(at for g, at in pairs if g == h).timestamp() for h in {h for h, _ in pairs} - {"unknown"}}


def _of_runs(platform: SmallPlatform) -> dict[str, dict[tuple[str, ...], float]]:
    runs = platform.ask("select dag_id, state, ended_at from control.run")
    stages = platform.ask(
        "select stage, state, token, seconds, gate_seconds, cpu_seconds, peak_memory_bytes, rows, ended_at from control.stage_run"
    )
    found: dict[str, dict[tuple[str, ...], float]] = {
        "estuaire_runs_total": dict(Counter((d, s) for d, s, _ in runs if s != "running")),
        "estuaire_run_last_success_timestamp_seconds": _latest([(d, at) for d, s, at in runs if s in ("success", "nothing_new")]),
        "estuaire_stage_attempts_total": dict(Counter((s[0], s[1]) for s in stages if s[1] != "running")),
    }  # fmt: skip
    names = ("seconds", "gate_seconds", "cpu_seconds", "peak_memory_bytes", "rows")
    for stage in {s[0] for s in stages if s[1] == "committed"}:
        last = max((s for s in stages if s[:2] == (stage, "committed")), key=lambda s: s[2])
        for name, value in zip(names, last[3:8], strict=True):
            if value is not None:
                found.setdefault(f"estuaire_stage_{name}", {})[(stage,)] = value
        found.setdefault("estuaire_stage_ended_timestamp_seconds", {})[(stage,)] = last[8].timestamp()
    return found


def _of_what_is_held(platform: SmallPlatform) -> dict[str, dict[tuple[str, ...], float]]:
    bytes_, files = {}, {}
    for layer in ("landed", "consolidated"):
        for table, listed in platform.lake.list_layer(layer).items():
            paths = [platform.settings.store_path / "lake" / f.split("/lake/", 1)[-1] for f in listed]
            bytes_[layer, table] = float(sum(p.stat().st_size for p in paths))
            files[layer, table] = float(len(paths))
    [served] = platform.ask("select release_id, published_at from control.release where state = 'published'")
    alerts = platform.ask("select kind, severity from control.alert where resolved_at is null")
    return {
        "estuaire_lake_bytes": bytes_,
        "estuaire_lake_files": files,
        "estuaire_release_number": {(): float(served[0])},
        "estuaire_release_published_timestamp_seconds": {(): served[1].timestamp()},
        "estuaire_alerts_standing": dict(Counter(alerts)),
        "estuaire_alert_messages": dict(Counter(platform.ask("select channel, state from control.alert_message"))),
    }  # fmt: skip
