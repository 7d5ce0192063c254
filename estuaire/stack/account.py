"""The system account that runs PostgreSQL when we are root, and its way to the folders it needs.

PostgreSQL refuses to run as root. It gets an account of its own, without a shell or a home, and for each closed folder on the
way (a home of mode 0700) the right to pass through it, for that account alone where the file system has ACLs.
"""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import stat
import struct
import subprocess
from pathlib import Path

from estuaire.base.errors import SetupError

ACCOUNT = "estuaire"
_ACL = "system.posix_acl_access"
_DEFAULT_ACL = "system.posix_acl_default"
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID = 0xFFFFFFFF
_SEARCH = 0o1


def server_user() -> tuple[int, int] | None:
    """(uid, gid) that PostgreSQL has to run as, created when needed; None when we are not root: it runs as ourselves.

    Raises:
        SetupError: the account does not exist and cannot be created.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        entry = _create()
    return entry.pw_uid, entry.pw_gid


def open_path(target: Path, uid: int) -> list[Path]:
    """Let ``uid`` pass through (not list) every folder above ``target``; returns those that were changed."""
    changed = []
    for folder in reversed(target.absolute().parents):
        status = folder.stat()
        if status.st_uid == uid or status.st_mode & stat.S_IXOTH or _has_search(folder, uid):
            continue
        _grant_search(folder, uid, status.st_mode)
        changed.append(folder)
    return changed


def acl_with_search(current: bytes | None, mode: int, uid: int) -> bytes:
    """The POSIX ACL ``current`` (or the one that ``mode`` stands for) with search permission for ``uid`` added.

    The mask is widened by the search bit only: without it the new entry would have no effect.
    """
    entries = (
        _parse(current)
        if current
        else [
            (_USER_OBJ, (mode >> 6) & 7, _NO_ID),
            (_GROUP_OBJ, (mode >> 3) & 7, _NO_ID),
            (_OTHER, mode & 7, _NO_ID),
        ]
    )
    mask = next((bits for tag, bits, _ in entries if tag == _MASK), None)
    if mask is None:
        mask = next(bits for tag, bits, _ in entries if tag == _GROUP_OBJ)
    user_permissions = next((bits for tag, bits, ident in entries if tag == _USER and ident == uid), 0)
    kept = [entry for entry in entries if entry[0] != _MASK and not (entry[0] == _USER and entry[2] == uid)]
    kept += [(_USER, user_permissions | _SEARCH, uid), (_MASK, mask | _SEARCH, _NO_ID)]
    kept.sort(key=lambda entry: (entry[0], entry[2]))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in kept)


def open_to_others(path: Path, mode: int, uid: int | None) -> bool:
    """Whether an account other than the owner has a right to ``path``; that ``uid`` may pass through is no such right.

    Args:
        mode: its permission bits. Where there is an ACL those of the group are its mask.
    """
    if os.path.isdir(path) and _xattr(path, _DEFAULT_ACL) is not None:
        return True  # new files take it over, whatever the umask
    if not mode & 0o077:
        return False
    raw = _xattr(path, _ACL)
    if raw is None:
        return True
    entries = _parse(raw)
    mask = next((bits for tag, bits, _ in entries if tag == _MASK), 7)
    for tag, bits, ident in entries:
        if tag in (_USER_OBJ, _MASK):
            continue
        given = bits if tag == _OTHER else bits & mask
        if given and not (tag == _USER and ident == uid and given == _SEARCH):
            return True
    return False


def close(path: Path, mode: int) -> None:
    """Take every right of other accounts away. Raises OSError where ``path`` is another account's, or gone."""
    path.chmod(mode & 0o700)
    for name in (_ACL, _DEFAULT_ACL):
        if _xattr(path, name) is not None:
            os.removexattr(path, name)


def _xattr(path: Path, name: str) -> bytes | None:
    try:
        return os.getxattr(path, name)
    except OSError:
        return None


def _parse(raw: bytes) -> list[tuple[int, int, int]]:
    return list(struct.iter_unpack("<HHI", raw[4:]))


def _has_search(folder: Path, uid: int) -> bool:
    try:
        entries = _parse(os.getxattr(folder, _ACL))
    except OSError:
        return False
    mask = next((bits for tag, bits, _ in entries if tag == _MASK), 7)
    return any(tag == _USER and ident == uid and bits & mask & _SEARCH for tag, bits, ident in entries)


def _grant_search(folder: Path, uid: int, mode: int) -> None:
    try:
        try:
            current: bytes | None = os.getxattr(folder, _ACL)
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
            current = None
        os.setxattr(folder, _ACL, acl_with_search(current, stat.S_IMODE(mode), uid))
    except OSError:  # this file system has no ACLs: search (not list) for everyone
        folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _create() -> pwd.struct_passwd:
    program = shutil.which("useradd")
    remedy = f"run `useradd --system --user-group --shell /usr/sbin/nologin {ACCOUNT}`, or run estuaire as another user"
    if program is None:
        raise SetupError(f"PostgreSQL does not run as root and the account '{ACCOUNT}' is not there", remedy=remedy)
    command = [program, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT]
    done = subprocess.run(command, capture_output=True, text=True, check=False, umask=0o022)
    try:
        return pwd.getpwnam(ACCOUNT)  # also when another `estuaire up` created it meanwhile
    except KeyError:
        raise SetupError(
            f"the account '{ACCOUNT}' for PostgreSQL cannot be created ({done.stderr.strip()})", remedy=remedy
        ) from None
