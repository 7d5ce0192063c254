"""`make bench`: runs the benchmarks and prints their tables; docs/benchmarks.md keeps the numbers.

python -m tests.benchmarks            # all
python -m tests.benchmarks kernel     # only the landing kernel against its peers
python -m tests.benchmarks pipeline   # only the chain through Airflow, at the demo's size
python -m tests.benchmarks full       # the chain at the study's size (not in `make bench`: 15 minutes)
"""

from __future__ import annotations

import sys

from tests.benchmarks import kernel, pipeline

if __name__ == "__main__":
    wanted = sys.argv[1:] or ["kernel", "pipeline"]
    for name in wanted:
        {"kernel": kernel.main, "pipeline": pipeline.main, "full": pipeline.full}[name]()
