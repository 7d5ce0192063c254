"""What an error says, as fields: in memory, in the ledger's tables and on the way between processes. Sentences are made here, and nowhere read back."""

from __future__ import annotations

from dataclasses import dataclass

from estuaire.base.display_text import shown


@dataclass(frozen=True)
class ErrorFields:
    """An error that was typed: its code, where it was met, what is wrong and what to do next; never a patient's value.

    ``code`` and ``remedy`` are empty where a ledger of an older version kept a text that was no sentence of a typed error.
    """

    code: str
    what: str
    remedy: str
    hospital: str | None = None
    delivery: str | None = None
    table: str | None = None
    file: str | None = None

    @property
    def place(self) -> str:
        """``hospital/delivery``, as much of it as is known; it may name a whole hospital, or nothing."""
        return shown("/".join(p for p in (self.hospital, self.delivery) if p))

    def about(self) -> str:
        """What is wrong, with its table where no file is named; for whoever shows code, place and file by themselves."""
        if not self.code:
            return shown(self.what)
        table = f"table {self.table}: " if self.table and not self.file else ""
        return shown(f"{table}{_stopped(self.what)}")

    def advice(self) -> str:
        """What to do, as a sentence; empty where it is not known."""
        return shown(_stopped(self.remedy)) if self.remedy else ""

    def statement(self) -> str:
        """One line: code, place, what; without the remedy."""
        parts = [f"[{self.code}]"] if self.code else []
        if self.place:
            parts.append(f"delivery {self.place}:")
        if self.file:
            parts.append(f"file {self.file}:")
        # a folder's or file's name comes from outside: no control character reaches a terminal or a log
        return shown(" ".join([*parts, self.about()]))

    def sentence(self) -> str:
        """One line: code, place, what, remedy."""
        return f"{self.statement()} What to do: {self.advice()}" if self.remedy else self.statement()


def _stopped(text: str) -> str:
    return text.rstrip(".") + "."
