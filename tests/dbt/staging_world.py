"""Staging as the load stage leaves it, built from the contract, and a small hand-written world to fill it with."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import stay_ends
from psycopg2.extensions import cursor
from psycopg2.extras import execute_values

from estuaire.contract.layer_columns import staging_columns
from estuaire.contract.tables import load_contract
from estuaire.warehouse.dbt_sources import DERIVED_TABLES

PARIS = ZoneInfo("Europe/Paris")
UTC = ZoneInfo("UTC")


def reset(cur: cursor) -> None:
    """Empty staging tables (one partition per hospital appears as rows are added) and no release."""
    cur.execute("select nspname from pg_namespace where nspname ~ '^(marts|conformed|staging)'")
    for (schema,) in cur.fetchall():
        cur.execute(f"drop schema {schema} cascade")
    cur.execute("truncate control.release, control.load, control.kept_content")
    cur.execute("create schema marts; create schema staging; grant usage on schema marts to analyst")
    for name in load_contract().names:
        columns = ", ".join(f"{c.name} {c.postgres}" for c in staging_columns(load_contract().table(name)))
        cur.execute(f"create table staging.{name} ({columns}) partition by list (hospital_id)")
    for name, (_, columns_of) in DERIVED_TABLES.items():
        cur.execute(f"create table staging.{name} ({', '.join(f'{c} {t}' for c, t, _ in columns_of)})")


def insert(cur: cursor, table: str, rows: list[dict[str, Any]]) -> None:
    """Rows given by column name; what is left out is null."""
    for hospital in sorted({r["hospital_id"] for r in rows}):
        if table in load_contract().names:
            cur.execute(
                f"create table if not exists staging.{table}_{hospital} partition of staging.{table} "
                f"for values in ('{hospital}')"
            )
    for row in rows:
        names = list(row)
        execute_values(
            cur, f"insert into staging.{table} ({', '.join(names)}) values %s", [tuple(row[n] for n in names)]
        )


def count_days(cur: cursor, other: list[dict[str, Any]], hospital_id: str | None = None) -> None:
    """staging.administration_day as the load stage counts it, of all hospitals or of one: the administrations that the world holds, and
    those of ``other`` drugs."""
    own = "where %(hospital)s is null or hospital_id = %(hospital)s"
    cur.execute(f"delete from staging.administration_day {own}", {"hospital": hospital_id})
    cur.execute(
        "create temp table if not exists other_drug (hospital_id text, given_on date, records bigint); truncate other_drug"
    )
    if other:
        rows = [(r["hospital_id"], r["given_on"], r["records"]) for r in other]
        execute_values(cur, "insert into other_drug values %s", rows)
    cur.execute(
        "insert into staging.administration_day (hospital_id, given_on, records, given) select hospital_id, given_on, sum(records), "
        "sum(given) from (select hospital_id, given_at_local::date as given_on, count(*) as records, count(*) filter (where status = "
        "'given') as given from staging.administration group by 1, 2 union all select hospital_id, given_on, records, records from "
        f"other_drug) as counted {own} group by 1, 2",
        {"hospital": hospital_id},
    )


def other_drugs(hospital_id: str, first: str, count: int) -> list[dict[str, Any]]:
    """A record of a drug that the warehouse does not hold, on each of ``count`` days."""
    start = date.fromisoformat(first)
    return [{"hospital_id": hospital_id, "given_on": start + timedelta(days=n), "records": 1} for n in range(count)]


def moment(name: str, text: str | None) -> dict[str, Any]:
    """The two columns of a datetime, from Paris local time such as ``2024-01-01 22:00``."""
    if text is None:
        return {name: None, f"{name}_local": None}
    local = datetime.fromisoformat(text)
    return {name: local.replace(tzinfo=PARIS).astimezone(UTC), f"{name}_local": local}


def hospital(
    hospital_id: str, *, member: bool = True, calendar: str = "real", combination_doses: str = "substance"
) -> dict[str, Any]:
    return {
        "hospital_id": hospital_id,
        "finess": f"7500000{hospital_id[-2:]}",
        "name": f"Hôpital {hospital_id}",
        "study_member": member,
        "calendar": calendar,
        "timezone": "Europe/Paris",
        "combination_doses": combination_doses,
        "combination_doses_by_drug": "{}",
    }


def patient(hospital_id: str, patient_id: str, born: str = "1950-06-01", **other: Any) -> dict[str, Any]:
    return {
        "hospital_id": hospital_id,
        "patient_id": patient_id,
        "birth_date": date.fromisoformat(born),
        "sex": "female",
        "stale_correction": False,
        **other,
    }


def link(hospital_id: str, patient_id: str, patient_key: str) -> dict[str, Any]:
    return {
        "hospital_id": hospital_id,
        "patient_id": patient_id,
        "patient_key": patient_key,
        "link_method": "national_id",
    }


def stay(
    hospital_id: str,
    stay_id: str,
    patient_id: str,
    admitted: str,
    discharged: str | None,
    stay_type: str | None = "full",
) -> dict[str, Any]:
    return {
        "hospital_id": hospital_id,
        "stay_id": stay_id,
        "patient_id": patient_id,
        "stay_type": stay_type,
        "stale_correction": False,
        **moment("admitted_at", admitted),
        **moment("discharged_at", discharged),
    }


def dose(
    hospital_id: str,
    administration_id: str,
    patient_id: str,
    stay_id: str | None,
    atc: str | None,
    given: str,
    status: str | None = "given",
    *,
    amount: float | None = None,
    unit: str | None = None,
    route: str | None = None,
) -> dict[str, Any]:
    return {
        "hospital_id": hospital_id,
        "administration_id": administration_id,
        "patient_id": patient_id,
        "stay_id": stay_id,
        "drug_code": atc,
        "drug_code_source": "x",
        "status": status,
        "dose": amount,
        "dose_unit": unit,
        "route": route,
        "stale_correction": False,
        **moment("given_at", given),
    }


def specimen(hospital_id: str, specimen_id: str, patient_id: str, collected: str) -> dict[str, Any]:
    return {
        "hospital_id": hospital_id,
        "specimen_id": specimen_id,
        "patient_id": patient_id,
        "stale_correction": False,
        **moment("collected_at", collected),
    }


def days(first: str, count: int, clock: str = "08:00") -> list[str]:
    """``count`` local times, one a day."""
    start = date.fromisoformat(first)
    return [f"{start + timedelta(days=n)} {clock}" for n in range(count)]


def small() -> dict[str, list[dict[str, Any]]]:
    """Two study hospitals and one outside the study; every rule of the mart is met once.

    h01 delivers administrations, h02 stays only (not covered), h03 is no study member.
    """
    course = [dose("h01", f"cro{n}", "a", "s1", "J01DD04", t) for n, t in enumerate(days("2024-01-01", 7, "23:30"))] + [
        dose("h01", f"mtr{n}{c[:2]}", "a", "s1", "J01XD01", t)
        for c in ("06:00", "14:00", "22:00")
        for n, t in enumerate(days("2024-01-01", 5, c))
    ]
    return {
        "hospital": [hospital("h01"), hospital("h02"), hospital("h03", member=False)],
        "patient": [
            patient("h01", "a"),
            patient("h01", "b", death_date=date(2024, 6, 2)),
            patient("h02", "a2", death_date=date(2024, 6, 1)),
            patient("h03", "c", sex="male"),
        ],
        "patient_map": [
            link("h01", "a", "person-1"),
            link("h01", "b", "person-2"),
            link("h02", "a2", "person-2"),
            link("h03", "c", "person-3"),
        ],
        "stay": [
            stay("h01", "s1", "a", "2024-01-01 22:00", "2024-01-20 09:00"),
            stay("h01", "s1bis", "a", "2024-01-10 10:00", "2024-01-22 10:00"),  # overlaps: its nights count once
            stay("h01", "s2", "b", "2024-01-30 22:00", "2024-02-02 09:00"),  # 3 nights over two months
            stay("h01", "s3", "b", "2024-02-10 08:00", "2024-02-10 18:00"),  # same day: no night
            stay("h01", "s4", "b", "2024-02-12 08:00", "2024-02-14 18:00", "day"),
            stay("h01", "s5", "ghost", "2024-03-01 08:00", "2024-03-03 18:00"),  # a patient never delivered
            stay("h01", "s6", "b", "2024-03-29 08:00", None),  # open: counted to the next admission, in May
            stay("h01", "s7", "b", "2024-05-02 08:00", "2024-05-05 08:00"),  # no dose recorded in May: not covered
            stay("h02", "s1", "a2", "2024-01-05 10:00", "2024-01-09 10:00"),
            stay("h03", "s1", "c", "2024-01-02 10:00", "2024-01-06 10:00"),
        ],
        "administration": [
            *course,
            dose("h01", "ng", "a", "s1", "J01DD04", "2024-01-12 08:00", "not_given"),
            dose("h01", "ca", "a", "s1", "J01DD04", "2024-01-13 08:00", "cancelled"),
            dose("h01", "un", "a", "s1", None, "2024-01-14 08:00"),  # unmapped drug
            dose("h01", "va", "b", "s2", "A07AA09", "2024-01-31 08:00"),  # oral vancomycin: scope all only
            dose("h01", "ri", "b", None, "J04AB02", "2024-02-01 08:00"),  # by time, spares and all
            dose("h01", "fx", "b", "nowhere", "A07AA12", "2024-02-10 12:00"),  # unresolved, by time
            dose("h01", "dy", "b", "s4", "J01CR02", "2024-02-13 08:00"),  # day stay: out
            dose("h01", "ot", "b", "s1", "J01CR02", "2024-02-20 08:00"),  # another's stay, and outside one's own: out
            dose("h01", "gh", "ghost", "s5", "J01CR02", "2024-03-02 08:00"),
            dose("h01", "dst", "b", "s6", "P01AB01", "2024-03-31 12:00"),  # day of the spring clock change
            dose("h03", "c1", "c", "s1", "J01MA02", "2024-01-03 08:00"),
        ],
        "administration_day": [*other_drugs("h01", "2024-01-08", 60), *other_drugs("h03", "2024-01-02", 4)],
    }


DRUGS = (
    "J01DD04",
    "J01XD01",
    "J01CR02",
    "P01AB01",
    "A07AA09",
    "J04AB02",
    "A07AA12",
    "J01XX01",
    "J01CE01",
    "J01XB01",
    None,
)


def random_world(seed: int, hospitals: tuple[str, ...] = ("h04", "h05", "h06")) -> dict[str, list[dict[str, Any]]]:
    """Stays, doses and results drawn at random: overlaps, open stays, unknown stays and patients, all types, units and routes."""
    draw = random.Random(seed)  # noqa: S311 - test data
    start = datetime(2023, 9, 1)
    tables: dict[str, list[dict[str, Any]]] = {
        "hospital": [hospital(h) for h in hospitals],
        "patient": [],
        "patient_map": [],
        "stay": [],
        "administration": [],
    }
    for h in hospitals:
        for n in range(25):
            tables["patient"].append(patient(h, f"p{n}"))
            tables["patient_map"].append(link(h, f"p{n}", f"person-{n if n % 3 else f'{h}-{n}'}"))
        stays = []
        for n in range(80):
            who = f"p{draw.randrange(27)}"  # p25 and p26 were never delivered
            begin = start + timedelta(minutes=draw.randrange(250 * 1440))
            end = begin + timedelta(minutes=draw.choice((30, 600, 1500, 4000, 9000, 20000)))
            kind = draw.choice(("full", "full", "full", "day", "session", None))
            stays.append((f"s{n}", who, begin, end))
            tables["stay"].append(stay(h, f"s{n}", who, f"{begin}", None if draw.random() < 0.05 else f"{end}", kind))
        for n in range(600):
            name, who, begin, end = draw.choice(stays)
            given = begin + timedelta(minutes=draw.randrange(int((end - begin).total_seconds() / 60) + 300))
            where = draw.choice((name, name, name, None, "unknown", draw.choice(stays)[0]))
            drug = draw.choice(DRUGS)
            status = draw.choice(("given", "given", "given", "not_given", "cancelled", None))
            amount = draw.choice((1.0, 0.5, 500.0, 1000.0, 3.0, 0.0, None))
            unit = draw.choice(("g", "g", "mg", "[MIU]", "[IU]", "{unit_dose}", None))
            route = draw.choice(("oral", "intravenous", "intramuscular", "subcutaneous", "inhalation", None))
            tables["administration"].append(
                dose(h, f"a{n}", who, where, drug, f"{given}", status, amount=amount, unit=unit, route=route)
            )
        _draw_records(draw, h, tables, start)
    return tables


def _draw_records(draw: random.Random, h: str, tables: dict[str, list[dict[str, Any]]], start: datetime) -> None:
    """Diagnoses, specimens, isolates and results, some without the parent that would date them, and two silent months."""
    tables["diagnosis"] = tables.get("diagnosis", [])
    for n in range(200):
        row = {"hospital_id": h, "stay_id": f"s{draw.randrange(90)}", "rank": n, "stale_correction": False}
        tables["diagnosis"].append(row)
    for table in ("specimen", "isolate", "susceptibility"):
        tables[table] = tables.get(table, [])
    for n in range(150):
        at = start + timedelta(minutes=draw.randrange(250 * 1440))
        if at.month in (12, 1) and draw.random() < 0.9:
            continue
        tables["specimen"].append(specimen(h, f"x{n}", f"p{draw.randrange(27)}", f"{at}"))
    for n in range(300):
        isolate = {"hospital_id": h, "specimen_id": f"x{draw.randrange(160)}", "isolate_number": n}
        tables["isolate"].append({**isolate, "stale_correction": False})
        for drug in draw.sample(("CTX", "CIP", "GEN"), draw.randrange(4)):
            tables["susceptibility"].append(
                {**isolate, "drug_code": drug, "drug_code_source": drug, "stale_correction": False}
            )


COURSES = (  # docs/domain/consumption.md's worked courses: drug, dose, unit, route, times a day, days
    ("J01DD04", 1.0, "g", "intravenous", 1, 7),
    ("J01XD01", 500.0, "mg", "intravenous", 3, 5),
    ("J01CR02", 1.0, "g", "oral", 3, 7),
    ("J01CR05", 4.0, "g", "intravenous", 4, 5),
    ("J01EE01", 2.0, "{unit_dose}", "oral", 2, 10),
    ("J01XB01", 3.0, "[MIU]", "intravenous", 3, 5),
    ("J01CE01", 4.0, "[MIU]", "intravenous", 6, 7),
)


def courses() -> dict[str, list[dict[str, Any]]]:
    """h07, outside the study, gives each worked course to a patient of its own in January 2024; 25 nights for each of the first four.

    h38 has a shifted calendar and is marked a study member: it must stay out of the group all the same.
    """
    tables: dict[str, list[dict[str, Any]]] = {
        "hospital": [hospital("h07", member=False), hospital("h38", calendar="shifted")],
        "patient": [patient("h38", "p")],
        "patient_map": [link("h38", "p", "person-h38")],
        "stay": [stay("h38", "s", "p", "2024-01-02 08:00", "2024-01-09 08:00")],
        "administration": [
            dose("h38", "a", "p", "s", "J01DD04", "2024-01-03 08:00", amount=1.0, unit="g", route="intravenous")
        ],
        "administration_day": [*other_drugs("h07", "2024-01-01", 57), *other_drugs("h38", "2024-01-02", 7)],
    }
    for n, (drug, amount, unit, route, times, length) in enumerate(COURSES):
        who, month = f"p{n}", 1 if n < 4 else 2
        tables["patient"].append(patient("h07", who))
        tables["patient_map"].append(link("h07", who, f"person-h07-{n}"))
        tables["stay"].append(stay("h07", f"s{n}", who, f"2024-0{month}-01 08:00", f"2024-0{month}-26 08:00"))
        for k in range(times):
            for m, given in enumerate(days(f"2024-0{month}-02", length, f"{k * (24 // times):02}:15")):
                tables["administration"].append(
                    dose("h07", f"a{n}.{k}.{m}", who, f"s{n}", drug, given, amount=amount, unit=unit, route=route)
                )
    return tables


def together(*worlds: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """One world of several that share no hospital."""
    return {name: [row for w in worlds for row in w.get(name, [])] for name in {n: None for w in worlds for n in w}}


def fill(cur: cursor, tables: dict[str, list[dict[str, Any]]], hospital_id: str | None = None) -> None:
    """The rows of a world, or of one hospital of it, into staging; stays get the end that consolidation would give them."""
    ends = stay_ends.ends(tables)
    for name, rows in tables.items():
        if name == "administration_day" or (name == "hospital" and hospital_id):
            continue
        if name == "stay":
            rows = [r | moment("ended_at", f"{ends[r['hospital_id'], r['stay_id']]}") for r in rows]
        insert(cur, name, [r for r in rows if hospital_id in (None, r["hospital_id"])])
    count_days(cur, tables.get("administration_day", []), hospital_id)


def load(cur: cursor, tables: dict[str, list[dict[str, Any]]], content: str = "v1") -> None:
    """Fill staging and say so in control.load; stays get the end that consolidation would give them."""
    fill(cur, tables)
    for row in tables["hospital"]:
        cur.execute(
            "insert into control.load (hospital_id, content_hash, run_id) values (%s, %s, 'test') "
            "on conflict (hospital_id) do update set content_hash = excluded.content_hash",
            (row["hospital_id"], content),
        )
