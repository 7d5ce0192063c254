"""`make bench`: runs the benchmarks and prints their tables; docs/benchmarks.md keeps the numbers.

python -m tests.benchmarks            # all
python -m tests.benchmarks kernel     # only the landing kernel against its peers
python -m tests.benchmarks peers      # landing and consolidating six hospitals of the study's size, against plain programs
python -m tests.benchmarks bombs      # only framing of texts that are made to cost much
python -m tests.benchmarks pipeline   # only the chain through Airflow, at the demo's size
python -m tests.benchmarks full       # the chain at the study's size (not in `make bench`: 15 minutes)
python -m tests.benchmarks queries    # the analysts' standard queries on the stack of ESTUAIRE_HOME, which must serve a release (not in `make bench`)
python -m tests.benchmarks scale 10   # the chain at 10 times the study's size (make bench-scale; not in `make bench`: hours, 203 GB)
python -m tests.benchmarks lake_or_postgres 1 3 # one aggregate in PostgreSQL and on the lake of ESTUAIRE_HOME, at these sizes (not in `make bench`)
python -m tests.benchmarks limits     # what this machine can do: reading, parsing, writing, COPY, hashing (a minute)
python -m tests.benchmarks releases   # only swaps and rollbacks under readers
python -m tests.benchmarks scale_out  # two Spark workers against one, in containers (not in `make bench`: half an hour, root)
python -m tests.benchmarks stores     # the demo on a folder, on MinIO and on versitygw (not in `make bench`: 20 minutes)
"""

from __future__ import annotations

import sys

from tests.benchmarks import (
    bombs,
    kernel,
    lake_or_postgres,
    limits,
    pipeline,
    queries,
    releases,
    scale,
    scale_out,
    stores,
)
from tests.benchmarks.peers import land_and_consolidate

if __name__ == "__main__":
    wanted = sys.argv[1:] or ["kernel", "peers", "bombs", "pipeline", "releases"]
    if wanted[0] in ("scale", "lake_or_postgres"):  # what follows is theirs
        wanted = wanted[:1]
    for name in wanted:
        {
            "bombs": bombs.main,
            "kernel": kernel.main,
            "peers": land_and_consolidate.main,
            "pipeline": pipeline.main,
            "queries": queries.main,
            "limits": limits.main,
            "scale": scale.main,
            "lake_or_postgres": lake_or_postgres.main,
            "releases": releases.main,
            "full": pipeline.full,
            "scale_out": scale_out.main,
            "stores": stores.main,
        }[name]()
