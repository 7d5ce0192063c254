"""A PostgreSQL server of a benchmark's own, with the platform's settings, removed after it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from estuaire.base.settings import Settings
from estuaire.stack import postgres as server
from estuaire.stack import roles
from tests.conftest import temporary_settings


@contextlib.contextmanager
def own_server() -> Iterator[Settings]:
    """Settings of a running server with the platform's roles and an empty database."""
    with temporary_settings() as settings:
        try:
            server.start(settings)
            roles.ensure(settings, server.ensure_passwords(settings))
            yield settings
        finally:
            server.stop(settings)
