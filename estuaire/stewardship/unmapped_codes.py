"""Codes that nobody has mapped, as a hospital's consolidation counted them: code system -> local code -> <table>.<column> -> records.

In the ledger (``control.unmapped_code``) they stand twice where the gate blocks a hospital: those of its newest consolidation, which is not
in use, and those of the one that is. The view ``control.code_to_map`` shows the newest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import execute_values

from estuaire.contract.mapped_share import marts_of_codes

LONGEST = 200  # characters of a code in the ledger: an index takes 2.7 kB, and nobody maps a longer one
Unmapped = dict[str, dict[str, dict[str, int]]]


def bounded(code: str) -> str:
    """The code as the ledger holds it: a longer one is cut, with a mark that tells it from others that begin alike; NUL is no text."""
    code = code.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if len(code) <= LONGEST:
        return code
    mark = hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{code[: LONGEST - 20]}... {mark}"


def merged(parts: Iterable[Unmapped]) -> Unmapped:
    """The codes of several tables as one."""
    unmapped: Unmapped = {}
    for part in parts:
        for system, codes in part.items():
            for code, places in codes.items():
                records_by_place = unmapped.setdefault(system, {}).setdefault(bounded(code), {})
                for place, records in places.items():
                    records_by_place[place] = records_by_place.get(place, 0) + records
    return unmapped


def write(cursor: Cursor, hospital: str, unmapped: Unmapped, *, blocked: bool) -> None:
    """Replace a hospital's codes, of the consolidation that is in use or of the one that the gate blocked, in the caller's transaction."""
    cursor.execute("delete from control.unmapped_code where hospital_id = %s and blocked = %s", (hospital, blocked))
    execute_values(
        cursor,
        "insert into control.unmapped_code (hospital_id, code_system, local_code, records, columns, blocked) values %s",
        [
            (hospital, system, code, sum(places.values()), json.dumps(places), blocked)
            for system, codes in unmapped.items()
            for code, places in codes.items()
        ],
    )


def marts_of(columns: Iterable[str]) -> list[str]:
    """Published tables whose figures lack the records that bear a code in one of these columns (``<table>.<column>``)."""
    known = marts_of_codes()
    return sorted({mart for place in columns for mart in known.get(place, ())})
