"""Full deliveries that wait for a confirmation, and what they would end (docs/decisions/0017). Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote

from estuaire.base import texts
from estuaire.base.settings import Settings
from estuaire.base.texts import number, say
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
        ends = ", ".join(
            say(
                language,
                "full.end_beyond" if e.beyond else "full.end",
                table=e.table,
                ended=number(e.ended, language),
                standing=number(e.standing, language),
                share=texts.share(e.share, language),
                may=texts.share(e.may, language),
            )
            for e in self.endings
        )
        return say(language, "full.waits", delivery=f"{self.hospital}/{self.delivery}", ends=ends, command=self.command)


def waiting(platform: Platform) -> list[Waiting]:
    """Deliveries that are held now, by hospital and sequence."""
    rows = fetch(
        platform.database,
        "select hospital_id, delivery_id, ends from control.delivery where state = 'held' order by hospital_id, sequence, delivery_id",
    )
    held = []
    for row in rows:
        endings = [
            Ending(t, int(n), int(of), share(platform.settings, t)) for t, (n, of) in (row["ends"] or {}).items() if n
        ]
        endings.sort(key=lambda e: (-e.share, e.table))
        held.append(Waiting(row["hospital_id"], row["delivery_id"], tuple(endings)))
    return held
