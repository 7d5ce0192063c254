"""The shared Spark session, and hypothesis without a stopwatch: the machine may be busy with other tests."""

from __future__ import annotations

from hypothesis import settings
from local_spark import spark

__all__ = ["spark"]

settings.register_profile("estuaire", deadline=None, print_blob=True)
settings.load_profile("estuaire")
