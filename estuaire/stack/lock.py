"""One `up`, `down` or `init` of a home at a time."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator

from estuaire.base import private_files
from estuaire.base.errors import SetupError
from estuaire.base.settings import Settings


@contextlib.contextmanager
def alone(settings: Settings, report: Callable[[str], None]) -> Iterator[None]:
    """Hold the home's lock; a second one waits, and says so.

    Raises:
        SetupError: the home cannot be written.
    """
    try:
        private_files.folder(settings.run_dir)
        lock = (settings.run_dir / "lock").open("w")
    except OSError as error:
        raise SetupError(
            f"{settings.root} cannot be written ({error.strerror})", remedy="set ESTUAIRE_HOME to a folder of yours"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another `estuaire up`, `down` or `init`")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
