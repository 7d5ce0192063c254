"""The pseudonym key: drawn once, by ``estuaire up``, and from then on only read. Its fingerprint stands in the ledger.

Security property: a task that finds no key, or another one, stops. A key drawn in its place would make two of every patient, silently: every
pseudonym of before would belong to nobody.
"""

from __future__ import annotations

import hashlib

from psycopg2.extensions import cursor as Cursor

from estuaire.base.errors import PseudonymKeyRefused
from estuaire.base.settings import Settings
from estuaire.storage.platform import Platform

NAME = "pseudonym_key"
_BYTES = 32
_LABEL = b"estuaire pseudonym key, fingerprint 1\0"  # so that it is no hash that anything else takes of the key


def fingerprint(key: str) -> str:
    """32 hexadecimal digits that tell two keys apart; the key (256 random bits) cannot be found from them."""
    return hashlib.sha256(_LABEL + key.encode()).hexdigest()[:32]


def ensure(platform: Platform) -> None:
    """Draw the key where there never was one, and register it; else compare it with the one registered. Only at set-up, after migrations.

    Raises:
        PseudonymKeyRefused: the key is lost, or it is not the one that the ledger knows.
        SecretUnusable: its file is empty, damaged, or cannot be written.
    """
    settings = platform.settings
    with platform.database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("lock table control.pseudonym_key in exclusive mode")  # two set-ups at once register one key
        known = _registered(cursor)
        if not (settings.secrets_path / NAME).exists():
            if known is not None or _used(cursor):
                raise _lost(settings)
            settings.ensure_secret(NAME, _BYTES)
        of_secret = fingerprint(settings.secret(NAME))
        if known is None:
            cursor.execute("insert into control.pseudonym_key (fingerprint) values (%s)", (of_secret,))
        elif of_secret != known:
            raise _another(settings)


def checked(platform: Platform) -> str:
    """Fingerprint of this installation's key, which is the one that the ledger knows. For a driver, before it hands out work.

    Raises:
        PseudonymKeyRefused: it is not, or none is registered.
        SecretUnusable: there is no key, or its file is damaged.
    """
    with platform.database.transaction() as connection, connection.cursor() as cursor:
        known = _registered(cursor)
    if known is None:
        raise PseudonymKeyRefused("the ledger knows no pseudonym key yet", remedy="run `estuaire up`")
    read(platform.settings, known)
    return known


def read(settings: Settings, known: str) -> bytes:
    """The key, for a task; ``known`` is the fingerprint that its driver gave it.

    Raises:
        PseudonymKeyRefused: this machine has another key.
        SecretUnusable: it has none, or a damaged one.
    """
    key = settings.secret(NAME)
    if fingerprint(key) != known:
        raise _another(settings)
    return key.encode()


def _registered(cursor: Cursor) -> str | None:
    cursor.execute("select fingerprint from control.pseudonym_key")
    row = cursor.fetchone()
    return None if row is None else str(row[0])


def _used(cursor: Cursor) -> bool:
    """Whether something was landed under a key that was never registered (by a version that registered none)."""
    cursor.execute("select exists (select 1 from control.landed_file)")
    return cursor.fetchone() == (True,)


def _lost(settings: Settings) -> PseudonymKeyRefused:
    return PseudonymKeyRefused(
        "the pseudonym key is lost, and records were landed under it: another one would make two of every patient",
        remedy=f"restore {settings.secrets_path / NAME} from the backup, with mode 0600",
    )


def _another(settings: Settings) -> PseudonymKeyRefused:
    return PseudonymKeyRefused(
        "the pseudonym key is not the one that this installation's ledger knows",
        remedy=f"restore {settings.secrets_path / NAME} from the backup of this installation, with mode 0600",
    )
