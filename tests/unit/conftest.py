"""The shared Spark session."""

from __future__ import annotations

from local_spark import spark

__all__ = ["spark"]
