"""One small world with many traps, written once for all tests of the simulator."""

from __future__ import annotations

import pytest
from simulated_world import World, write


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write(tmp_path_factory.mktemp("world"), shared_share=0.2)
