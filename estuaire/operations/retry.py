"""`estuaire retry`: makes what failed ready to run again. Its only writes are the states of deliveries and the verdicts that keep their refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from estuaire.base.errors import NothingToRetry
from estuaire.base.run_names import DAGS, INGEST
from estuaire.deliveries.landing_scan import fingerprint_of
from estuaire.runs.explain import NEEDS_HOSPITAL, REFUSED, Place, latest_of_each_dag, only_refusals, resolve
from estuaire.storage import error_columns, ledger
from estuaire.storage.database import Database
from estuaire.storage.object_store import ObjectStore


@dataclass(frozen=True)
class Retry:
    """What to start again: the DAG, and the chain it belongs to (None: a chain of its own); what stays refused, and why."""

    start: str
    root: str | None
    put_back: list[Place]
    left: list[str]


def retry(database: Database, store: ObjectStore, name: str | None) -> Retry:
    """Make what failed ready to run again: blocked deliveries go back to received. The caller starts the DAG, and has made sure
    that no chain runs: a run that the ledger still holds as running has died.

    Raises:
        UnknownName: nothing has this name.
        NothingToRetry: nothing failed, or the same bytes would be refused again; says why.
    """
    subject = resolve(database, name)
    rows = ledger.fetch(
        database, "select * from control.run where run_id = any(%s) order by started_at", (list(subject.runs),)
    )
    failed = [r for r in latest_of_each_dag(rows) if r["state"] in ("failed", "running")]
    refused = ledger.fetch(
        database,
        "select * from control.delivery where run_id = any(%s) and error_code is not null",
        (list(subject.runs),),
    )
    places = subject.deliveries or tuple((r["hospital_id"], r["delivery_id"]) for r in refused)
    stages = ledger.fetch(database, "select * from control.stage_run where run_id = any(%s)", (list(subject.runs),))
    failed = [r for r in failed if not only_refusals(r, refused, stages)]
    back, why_not = _put_back(database, store, places)
    if failed and failed[0]["dag_id"] in DAGS and failed[0]["dag_id"] != INGEST:
        # an ingest run goes through the whole chain; deliveries put back ask for one
        return Retry(INGEST, None, back, why_not) if back else Retry(failed[0]["dag_id"], subject.name, back, why_not)
    if failed or back:
        return Retry(INGEST, None, back, why_not)
    raise NothingToRetry(
        "; ".join(why_not) or f"nothing of {subject.name} failed",
        remedy="`estuaire run` lands a corrected delivery" if why_not else f"see `estuaire explain {subject.name}`",
    )


def _put_back(database: Database, store: ObjectStore, places: Sequence[Place]) -> tuple[list[Place], list[str]]:
    """Blocked deliveries back to received, each refusal kept as a verdict; (those put back, why the others are not)."""
    back, why_not = [], []
    with database.transaction() as connection, connection.cursor() as cursor:
        # landing holds this row while it writes its verdicts: either it has ended, or it waits for this transaction
        cursor.execute("select token from control.fence where stage = 'land' for update")
        for hospital, delivery in places:
            cursor.execute(
                f"select state, run_id, fingerprint, {error_columns.COLUMNS} from control.delivery "
                "where hospital_id = %s and delivery_id = %s for update",
                (hospital, delivery),
            )
            row = cursor.fetchone()
            if row is None:
                continue
            state, run_id, fingerprint, *told = row
            error = error_columns.read(dict(zip(error_columns.NAMES, told, strict=True)))
            code, remedy = (error.code, error.remedy) if error is not None else ("", "")
            present = fingerprint_of(store, hospital, delivery)
            if present is None:
                why_not.append(f"{hospital}/{delivery} is no longer in landing/")
            elif state == "landed":
                landed = f"{hospital}/{delivery} has landed"
                why_not.append(f"{landed}; {code}: {remedy}" if code else landed)
            elif state == "held":
                why_not.append(f"{hospital}/{delivery} is held ({remedy})")
            elif state == "blocked" and code in NEEDS_HOSPITAL and present == fingerprint:
                why_not.append(
                    f"{hospital}/{delivery} was refused with {code}, which only a corrected delivery from the hospital mends "
                    f"({remedy})"
                )
            else:
                if state == "blocked":
                    cursor.execute(
                        "insert into quality.verdict (run_id, stage, hospital_id, delivery_id, verdict, "
                        f"{error_columns.COLUMNS}) values (%s, %s, %s, %s, 'block', {error_columns.MARKS}) "
                        "on conflict do nothing",
                        (run_id, REFUSED, hospital, delivery, *told),
                    )
                    cursor.execute(
                        f"update control.delivery set state = 'received', {error_columns.SET_NULL}, "
                        "updated_at = now() where hospital_id = %s and delivery_id = %s",
                        (hospital, delivery),
                    )
                back.append((hospital, delivery))
    return back, why_not
