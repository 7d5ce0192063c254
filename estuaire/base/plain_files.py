"""Opens plain files only: a pipe in a file's place would be waited for without end, a link leads elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from estuaire.base.errors import FileNotReadable, PathOutsideDelivery


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading if it is a plain one; never waits, as opening a pipe does.

    Raises:
        PathOutsideDelivery: a symbolic link.
        FileNotReadable: a pipe, a device, a socket, a folder.
        FileNotFoundError: nothing is there.
    """
    if path.is_symlink():
        raise PathOutsideDelivery(
            "a symbolic link stands in a file's place", file=path.name, remedy="deliver plain files"
        )
    if not stat.S_ISREG(os.stat(path, follow_symlinks=False).st_mode):
        raise _not_plain(path)
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise _not_plain(path)
        return os.fdopen(opened, "rb")
    except BaseException:
        os.close(opened)
        raise


def _not_plain(path: Path) -> FileNotReadable:
    return FileNotReadable(
        "it is no plain file", file=path.name, remedy="deliver plain files: no pipe, device or folder"
    )
