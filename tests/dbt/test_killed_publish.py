"""A publish that is killed leaves no dbt behind that would write into the next candidate."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil

from estuaire.base.settings import PROJECT_ROOT


def test_dbt_ends_with_the_process_that_started_it() -> None:
    # `dbt --help` would end by itself: stand in for dbt's command line by a module of that name that only sleeps
    child = (
        "import sys, time, types; dbt = types.ModuleType('dbt.cli.main'); dbt.cli = lambda: time.sleep(900); "
        "sys.modules['dbt.cli.main'] = dbt; from estuaire.warehouse import dbt_process; dbt_process.main()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"],
        cwd=PROJECT_ROOT,
        env=os.environ,
    )
    try:
        limit = time.monotonic() + 60
        children: list[psutil.Process] = []
        while time.monotonic() < limit and not children:
            time.sleep(0.2)
            children = psutil.Process(parent.pid).children()
        assert children
        time.sleep(2.0)  # let it reach its sleep
        assert children[0].is_running()
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    for process in alive:
        process.kill()
    assert alive == []
