"""The base of all errors, and what becomes of an error that nobody foresaw."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

from estuaire.base.errors.fields import ErrorFields


class EstuaireError(Exception):
    """Base of every error that Estuaire raises on purpose.

    ``code`` is stable and is what the ledger, the logs and the hospital's report show; ``explained`` says that the guides
    tell it (messages ``refusal.<code>.what`` and ``.remedy``).
    """

    code = "E_ESTUAIRE"
    retryable = False
    exit_code = 1  # of the command that ends with it
    explained = False  # set where a hospital's delivery can meet the error

    def __init__(
        self,
        what: str,
        *,
        remedy: str,
        hospital: str | None = None,
        delivery: str | None = None,
        file: str | None = None,
        table: str | None = None,
    ) -> None:
        self.what = what
        self.remedy = remedy
        self.hospital = hospital
        self.delivery = delivery
        self.file = file
        self.table = table
        super().__init__(self.sentence())

    @property
    def fields(self) -> ErrorFields:
        """What the ledger keeps of it."""
        return ErrorFields(self.code, self.what, self.remedy, self.hospital, self.delivery, self.table, self.file)

    def sentence(self) -> str:
        """One line: code, place, what, remedy; for people, never to be read back."""
        return self.fields.sentence()

    def at(self, hospital: str | None = None, delivery: str | None = None, file: str | None = None) -> EstuaireError:
        """This error, with the place where it was met filled in where it names none."""
        self.hospital = self.hospital or hospital
        self.delivery = self.delivery or delivery
        self.file = self.file or file
        self.args = (self.sentence(),)
        return self

    def __reduce__(self) -> tuple[object, ...]:
        # Spark pickles a task's exception: keyword-only arguments need this.
        return (_rebuild, (type(self), self.__dict__.copy()))


def explained_errors() -> list[str]:
    """Code of each error that a delivery can meet, in the order in which the platform looks."""
    return [kind.code for kind in _kinds(EstuaireError) if kind.explained]


def _kinds(above: type[EstuaireError]) -> Iterator[type[EstuaireError]]:
    for kind in above.__subclasses__():
        yield kind
        yield from _kinds(kind)


def _rebuild(kind: type[EstuaireError], state: dict[str, object]) -> EstuaireError:
    error = kind.__new__(kind)
    Exception.__init__(error, "")
    error.__dict__.update(state)
    error.args = (error.sentence(),)
    return error


PASSING = (KeyboardInterrupt, SystemExit, GeneratorExit)  # no error of the work: they end the process


class TaskFailed(EstuaireError):
    """Something unforeseen stopped a piece of work. Its own message may hold a patient's value and is not repeated."""

    code = "E_TASK"
    retryable = True


class TaskKilled(TaskFailed):
    """The process that did a piece of work was killed outright, each time that it was tried."""

    code = "E_TASK_KILLED"
    retryable = False  # it was tried again, alone; within the run nothing else would change


def unforeseen(
    error: BaseException, *, hospital: str | None = None, delivery: str | None = None, file: str | None = None
) -> EstuaireError:
    """An error of ours with its place filled in; any other by its type and place in the code, never its message."""
    if isinstance(error, EstuaireError):
        return error.at(hospital, delivery, file)
    where = next(iter(traceback.extract_tb(error.__traceback__)[-1:]), None)
    at = f" at {Path(where.filename).name}:{where.lineno}" if where else ""
    return TaskFailed(
        f"{type(error).__name__}{at}, which nobody foresaw",
        remedy="it is tried again by the next run; if it fails again, report it as a defect with this line",
        hospital=hospital,
        delivery=delivery,
        file=file,
    )
