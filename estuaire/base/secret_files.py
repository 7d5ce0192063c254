"""Secrets as files: put in place whole or not at all, and read only where they are whole, private and well formed.

Security property: an empty, short or damaged secret is never used and never replaced without a word. An HMAC under an empty key is one that
anybody can compute, and another key in a lost one's place makes two of every patient.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from estuaire.base import private_files
from estuaire.base.errors import SecretUnusable, SetupError

_MAX_BYTES = 4096
# One line without control characters. A half-written file is shorter than what was drawn.
_PASSWORD = (r"[!-~]{12,}", "12 or more printable characters without a space")
_KEY = (r"[!-~][ -~]{30,}[!-~]", "32 or more printable characters on one line")
_GIVEN = (r"[!-~]+", "printable characters without a space")
_SHAPES: Mapping[str, tuple[str, str]] = {
    "pseudonym_key": (r"[!-~][ -~]{62,}[!-~]", "64 or more printable characters on one line"),
    "airflow_fernet": (r"[A-Za-z0-9_-]{43}=", "a Fernet key: 32 bytes in URL-safe base64"),
    "airflow_jwt": _KEY,
    "airflow_api": _KEY,
    "spark_auth": _KEY,
    "alert_smtp_password": (r"[ -~]+", "printable characters on one line"),
    "alert_webhook_key": _KEY,
    "metrics_token": _KEY,
    "s3_access_key": _GIVEN,
    "s3_secret_key": _GIVEN,
}


def read(folder: Path, name: str) -> str:
    """The secret ``name``, without the end of its line.

    Raises:
        SecretUnusable: there is no such file, others than its owner may touch it, or it does not hold what such a secret is.
    """
    path = folder / name
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SecretUnusable(f"the secret '{name}' is no file", remedy=_restore(path))
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise SecretUnusable(
                f"the secret '{name}' can be read by others than its owner", remedy=f"run `chmod 600 {path}`"
            )
        with path.open("rb") as file:
            value = file.read(_MAX_BYTES + 1).decode("ascii").strip()
    except FileNotFoundError as error:
        raise SecretUnusable(
            f"the secret '{name}' is not there", remedy=f"run `estuaire up`, or write {path} with mode 0600"
        ) from error
    except OSError as error:
        raise SecretUnusable(
            f"the secret '{name}' cannot be read ({error.strerror})", remedy=f"give {path} to this account, mode 0600"
        ) from error
    except UnicodeDecodeError:
        value = "\0"
    shape, said = _SHAPES.get(name, _PASSWORD)
    if not value or len(value) >= _MAX_BYTES or not re.fullmatch(shape, value):
        what = "is empty" if not value else f"is damaged: it should hold {said}"
        raise SecretUnusable(f"the secret '{name}' {what}", remedy=_restore(path))
    return value


def draw(folder: Path, name: str, text: str) -> None:
    """Put a secret in place, whole and on the disk; nothing is done where one stands already (two processes cannot race).

    Raises:
        SecretUnusable: it cannot be written.
    """
    path = folder / name
    draft = private_files.draft_beside(path)
    try:
        private_files.folder(folder)
        try:
            private_files.write_synced(draft, text)
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)  # fails where the name is taken, as a rename would not
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(folder)
    except OSError as error:
        raise SecretUnusable(
            f"the secret '{name}' cannot be written ({error.strerror})",
            remedy=f"make room and rights for {folder}, on a file system that has hard links, then run `estuaire up` again",
        ) from error


def sync_folder(folder: Path) -> None:
    """A name that was made, renamed or removed in ``folder`` survives a power cut from now on."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _restore(path: Path) -> str:
    return f"restore {path} from the backup; where it was never used, remove it and run `estuaire up`"


def write_private(path: Path, text: str) -> None:
    """Write ``text`` atomically with mode 0600; nothing is done when the file holds it already."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_IMODE(path.stat().st_mode) == 0o600 and path.read_text(encoding="utf-8") == text:
            return
    try:
        private_files.replace(path, text)
    except OSError as error:
        raise SetupError(
            f"{path} cannot be written ({error.strerror})",
            remedy=f"make room and rights for {path.parent}, then try again",
        ) from error
