"""A server of a test module's own, as an installation has it: those of the other tests do not wait for the disk, and are shared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from estuaire.base.settings import Settings
from estuaire.stack import postgres as server
from estuaire.stack import roles


@pytest.fixture(scope="module")
def own_server(own_settings: Settings) -> Iterator[Settings]:
    """PostgreSQL with its roles; a module may kill it and change its passwords."""
    try:
        server.start(own_settings)
        roles.ensure(own_settings, server.ensure_passwords(own_settings))
        yield own_settings
    finally:
        server.stop(own_settings)
