"""Spark jobs: land, consolidate, load. The work itself is the kernel; these are thin entry points around it."""
