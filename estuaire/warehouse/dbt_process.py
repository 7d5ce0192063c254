"""``python -m estuaire.warehouse.dbt_process``: dbt's command line, in a process that does not outlive its parent.

A dbt left behind by a killed publish would go on writing into the candidate schemas of the next one.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from estuaire.base import private_files

_PR_SET_PDEATHSIG = 1


def main() -> None:
    private_files.start()
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died in between
            sys.exit(1)
    from dbt.cli.main import cli

    cli()


if __name__ == "__main__":
    main()
