"""Seeded generators named by what they draw: the result never depends on the order or number of workers."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A generator for (seed, names), for example ``generator(1, "h01", "administration", 2)``."""
    words = [zlib.crc32(str(name).encode()) for name in names]
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))
