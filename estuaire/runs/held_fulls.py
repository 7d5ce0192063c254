"""Full deliveries that wait for a confirmation, and what they would end (docs/decisions/0017). Reads only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from shlex import quote

from estuaire.base.settings import Settings
from estuaire.storage.ledger import fetch
from estuaire.storage.platform import Platform


def share(settings: Settings, table: str) -> float:
    """Of this table, the share that a full delivery may end without a confirmation."""
    return settings.full_may_end_by_table.get(table, settings.full_may_end)


@dataclass(frozen=True)
class Ending:
    """What a held delivery would end of one table: ``ended`` of ``standing`` records, where the share ``may`` goes without a word."""

    table: str
    ended: int
    standing: int
    may: float

    @property
    def share(self) -> float:
        return self.ended / self.standing if self.standing else 0.0

    @property
    def beyond(self) -> bool:
        """Whether it is for this table that the delivery waits."""
        return self.ended > self.may * self.standing


@dataclass(frozen=True)
class Waiting:
    """A full delivery that waits for a confirmation, with what it would end: the tables with most of theirs first, none of nothing."""

    hospital: str
    delivery: str
    endings: tuple[Ending, ...]

    @property
    def command(self) -> str:
        return f"estuaire confirm {quote(self.hospital)} {quote(self.delivery)} --by NAME"

    def text(self, language: str) -> str:
        """What it would end and what to do, one line."""
        if language == "fr":
            ends = ", ".join(
                f"{e.table} {_count(e.ended, language)} sur {_count(e.standing, language)} ({_percent(e.share, language)}"
                f"{f', admis {_percent(e.may, language)}' if e.beyond else ''})"
                for e in self.endings
            )
            return (
                f"la livraison complète {self.hospital}/{self.delivery} attend une confirmation ; elle mettrait fin à : {ends}. "
                f"Si l'export est complet : `{self.command}`, puis `estuaire run` ; sinon, livrez-le entier sous un nouvel identifiant."
            )
        ends = ", ".join(
            f"{e.table} {_count(e.ended, language)} of {_count(e.standing, language)} ({_percent(e.share, language)}"
            f"{f', {_percent(e.may, language)} may go' if e.beyond else ''})"
            for e in self.endings
        )
        return (
            f"full delivery {self.hospital}/{self.delivery} waits for a confirmation; it would end: {ends}. "
            f"If the export is whole: `{self.command}`, then `estuaire run`; else deliver it whole under a new id."
        )


def _count(n: int, language: str) -> str:
    return f"{n:,}".replace(",", "\u00a0") if language == "fr" else f"{n:,}"


def _percent(share: float, language: str) -> str:
    """Rounded down: a share below the whole is never told as all of it."""
    told = f"{math.floor(share * 1000 + 1e-9) / 10:g}"
    return f"{told.replace('.', ',')}\u00a0%" if language == "fr" else f"{told}%"


def waiting(platform: Platform) -> list[Waiting]:
    """Deliveries that are held now, by hospital and sequence."""
    rows = fetch(
        platform.database,
        "select hospital_id, delivery_id, ends from control.delivery where state = 'held' order by hospital_id, sequence, delivery_id",
    )
    found = []
    for row in rows:
        endings = [
            Ending(t, int(n), int(of), share(platform.settings, t)) for t, (n, of) in (row["ends"] or {}).items() if n
        ]
        endings.sort(key=lambda e: (-e.share, e.table))
        found.append(Waiting(row["hospital_id"], row["delivery_id"], tuple(endings)))
    return found
