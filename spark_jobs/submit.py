"""Entry point of spark-submit: ``submit.py STAGE RUN_ID``.

The stages are imported, never run as ``__main__``: Spark then ships their functions to its tasks by name.
"""

from __future__ import annotations

import sys

from estuaire.base import private_files
from estuaire.base.settings import Settings
from estuaire.storage.platform import Platform


def main() -> None:
    """Run one stage and print what it did, for the task's log."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("land", "consolidate", "load"):
        raise SystemExit("usage: submit.py land|consolidate|load RUN_ID")
    private_files.start()
    _, stage, run_id = sys.argv
    from spark_jobs import consolidate, land, load
    from spark_jobs.session import session
    from spark_jobs.stage import reported

    module = {"land": land, "consolidate": consolidate, "load": load}[stage]
    platform = Platform(Settings())
    done = reported(
        platform.database,
        run_id,
        stage,
        lambda: module.main(platform, run_id, session(f"estuaire-{stage}", platform.settings)),
    )
    print(done, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
