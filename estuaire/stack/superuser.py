"""A lost password of the embedded PostgreSQL's superuser: `up` gives it a new one, since its data folder is the account's own.

Security property: nothing listens while it is done, and no rule of ``pg_hba.conf`` is loosened. PostgreSQL's single-user mode serves one
session on standard input, of the account that owns the data folder, and is refused while a server runs on it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import re
import secrets
import subprocess

from estuaire.base import secret_files
from estuaire.base.errors import SetupError
from estuaire.base.settings import Settings
from estuaire.stack import account, postgres

SECRET = "postgres_postgres"  # noqa: S105 - its name
_SALT = re.compile(r"SCRAM-SHA-256\$[0-9]+:([A-Za-z0-9+/]{22}==)\$")  # of 16 bytes, in base64
_ITERATIONS = 4096  # PostgreSQL's own default, scram_iterations
_SINGLE_SECONDS = 300.0  # after a kill it replays the log first


def repair(settings: Settings) -> bool:
    """Put a lost password of the superuser back, or give a new one; True where that was done.

    Where PostgreSQL runs, only by libpq's password file, if what stands in it still opens. Where it does not, by single-user mode. The
    server's role comes first and the file last: killed in between, the next start does it again.

    Raises:
        SecretUnusable: PostgreSQL runs and nothing opens it; or the secrets of the other roles are gone, too: then the folder is lost, or
            another one is named, and new passwords would lock out the right one.
        SetupError: single-user mode failed.
    """
    if not (settings.postgres_data / "PG_VERSION").exists() or os.path.lexists(settings.secrets_path / SECRET):
        return False
    others = [role for role in postgres.ROLES if os.path.lexists(settings.secrets_path / f"postgres_{role}")]
    if not others:
        raise postgres.superuser_lost(settings, "and so are those of all other roles")
    if postgres.is_running(settings):
        known = _in_passfile(settings)
        if known is None or not postgres.answers(settings):
            raise postgres.superuser_lost(settings, "and PostgreSQL runs")
        secret_files.draw(settings.secrets_path, SECRET, known + "\n")
        return True
    password = secrets.token_urlsafe(32)
    _set_alone(settings, verifier(password, secrets.token_bytes(16)))
    secret_files.draw(settings.secrets_path, SECRET, password + "\n")
    return True


def take_given(settings: Settings) -> bool:
    """Before a container's server starts: give the superuser the password that its secret holds now, if it was changed; True where it was.

    What was given last stands beside the data folder as a verifier, which does not tell the password. Killed before it is written, the next
    start gives the password again.

    Raises:
        SecretUnusable: the secret is missing or damaged.
        SetupError: single-user mode failed.
    """
    password = settings.secret(SECRET)
    kept = settings.root / "superuser.verifier"
    given = kept.read_text(encoding="utf-8").strip() if kept.exists() else ""
    salt = _SALT.match(given)  # a damaged note is as none: the password is given again
    if salt and hmac.compare_digest(given.encode(), verifier(password, base64.b64decode(salt[1])).encode()):
        return False
    new = verifier(password, secrets.token_bytes(16))
    _set_alone(settings, new)
    secret_files.write_private(kept, new + "\n")
    return True


def verifier(password: str, salt: bytes) -> str:
    """What PostgreSQL keeps of a password of plain ASCII: RFC 5803, SCRAM-SHA-256 by RFC 7677. It does not tell the password."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = (base64.b64encode(part).decode() for part in (salt, hashlib.sha256(client).digest(), server))
    told_salt, stored, served = parts
    return f"SCRAM-SHA-256${_ITERATIONS}:{told_salt}${stored}:{served}"


def _in_passfile(settings: Settings) -> str | None:
    with contextlib.suppress(OSError):
        for line in settings.passfile.read_text(encoding="utf-8").splitlines():
            if line.startswith("*:*:*:postgres:"):
                return re.sub(r"\\(.)", r"\1", line.removeprefix("*:*:*:postgres:"))
    return None


def _set_alone(settings: Settings, verified: str) -> None:
    """Set the superuser's password in single-user mode, where no server runs. The statement holds the verifier, never the password."""
    user = account.server_user()
    postgres.clear_after_kill(settings)
    postgres.open_way(settings, user)
    command = [str(postgres.bin_dir() / "postgres"), "--single", "-D", str(settings.postgres_data)]
    identity = {"user": user[0], "group": user[1], "extra_groups": []} if user else {}
    try:
        done = subprocess.run(
            [*command, "-c", "exit_on_error=on", "postgres"],
            input=f"ALTER ROLE postgres PASSWORD '{verified}'\n",
            env=postgres.environment(),
            cwd=settings.postgres_data,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SINGLE_SECONDS,
            **identity,  # type: ignore[call-overload]
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(settings, f"no end after {_SINGLE_SECONDS:.0f} s") from error
    said = [line for line in done.stderr.splitlines() if re.search(r"\b(ERROR|FATAL|PANIC):", line)]
    if done.returncode != 0 or said:
        raise _failed(settings, said[-1].split(": ", 1)[-1] if said else f"it ended with {done.returncode}")


def _failed(settings: Settings, why: str) -> SetupError:
    return SetupError(
        f"PostgreSQL's superuser could not be given a new password ({why})",
        remedy=f"look at {settings.postgres_data}, then `estuaire up` again; or restore {settings.secrets_path / SECRET} from the backup",
    )
