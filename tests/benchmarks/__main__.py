"""`make bench`: runs the benchmarks and prints their tables; docs/benchmarks.md keeps the numbers, those of kernel and peers by themselves.

python -m tests.benchmarks            # all
python -m tests.benchmarks kernel     # only the landing kernel against its peers
python -m tests.benchmarks peers      # landing and consolidating six hospitals of the study's size (--hospitals 37: all), against programs that do
                                      # the same work, and plain ones
python -m tests.benchmarks bombs      # only framing of texts that are made to cost much
python -m tests.benchmarks pipeline   # only the chain through Airflow, at the demo's size
python -m tests.benchmarks full       # the chain at the study's size (not in `make bench`: 15 minutes)
python -m tests.benchmarks releases   # only swaps and rollbacks under readers
python -m tests.benchmarks scale_out  # two Spark workers against one, in containers (not in `make bench`: half an hour, root)
python -m tests.benchmarks stores     # the demo on a folder, on MinIO and on versitygw (not in `make bench`: 20 minutes)
"""

from __future__ import annotations

import sys
from itertools import takewhile

from tests.benchmarks import bombs, kernel, pipeline, releases, scale_out, stores
from tests.benchmarks.peers import land_and_consolidate

if __name__ == "__main__":
    # names, then options of theirs
    wanted = list(takewhile(lambda word: not word.startswith("-"), sys.argv[1:])) or [
        "kernel",
        "peers",
        "bombs",
        "pipeline",
        "releases",
    ]
    for name in wanted:
        {
            "bombs": bombs.main,
            "kernel": kernel.main,
            "peers": land_and_consolidate.main,
            "pipeline": pipeline.main,
            "releases": releases.main,
            "full": pipeline.full,
            "scale_out": scale_out.main,
            "stores": stores.main,
        }[name]()
