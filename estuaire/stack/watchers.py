"""Airflow's watchers over landing/, after Airflow's key was changed or a backup restored with another one.

Airflow keeps what a watcher was told encrypted; with another key its triggerer ends at once, each time it starts, and nothing that is
deferred or watched runs any more. Airflow writes a watcher anew from its DAG.
"""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken

from estuaire.base.settings import Settings
from estuaire.stack import airflow


def forget_unreadable(settings: Settings) -> int:
    """Remove the watchers that the key in the secrets does not open; how many. Airflow's tables exist, its triggerer need not be stopped.

    Raises:
        SecretUnusable: Airflow's key is missing or damaged.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    key = Fernet(settings.secret(airflow.FERNET))
    with airflow.database(settings) as cursor:
        cursor.execute("select distinct t.id, t.kwargs from trigger t join asset_watcher w on w.trigger_id = t.id")
        lost = [number for number, kept in cursor.fetchall() if not _opens(key, kept)]
        cursor.execute("delete from asset_watcher where trigger_id = any(%s)", (lost,))
        cursor.execute("delete from trigger where id = any(%s)", (lost,))
    return len(lost)


def _opens(key: Fernet, kept: str) -> bool:
    try:
        key.decrypt(kept.encode())
    except InvalidToken:
        return False
    return True
