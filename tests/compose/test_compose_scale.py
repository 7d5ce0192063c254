"""The profile `scale`: two Celery workers run the tasks, and what is published stays an embedded run's."""

from __future__ import annotations

import time

import pytest
from beside import published_beside, same
from compose_project import Project
from published import copied
from small_platform import SmallPlatform

pytestmark = [pytest.mark.compose]


def test_two_celery_workers_publish_what_an_embedded_run_does(up: Project, embedded: SmallPlatform) -> None:
    up.environment |= {
        "COMPOSE_PROFILES": "scale",
        "ESTUAIRE_EXECUTOR": "CeleryExecutor",
        "ESTUAIRE_CELERY_WORKERS": "2",
    }
    up.compose("build", "--quiet", "redis", timeout=1800)
    up.start()
    before = up.airflow("select now()")[0][0]
    began = time.monotonic()
    up.wait_published(up.deliver())
    print(f"\npublished by Celery workers {time.monotonic() - began:.0f} s after the deliveries were sent")
    same(copied(up.settings()), published_beside(embedded, up.sequence))
    asked = f"select hostname, count(*) from task_instance where start_date > '{before}' and operator <> 'EmptyOperator' group by 1"
    worked = {host for host, n in up.airflow(asked) if host}
    workers = {
        c["Config"]["Hostname"]
        for c in up.inspected()
        if c["Config"]["Labels"]["com.docker.compose.service"] == "celery-worker"
    }
    assert len(workers) == 2
    assert worked == workers  # both, and nobody else
    for found in up.inspected():
        assert found["Config"]["User"].split(":")[0] not in ("", "0", "root")
        assert found["HostConfig"]["ReadonlyRootfs"]
    password = up.secret_values()["redis"]
    assert [c["Name"] for c in up.inspected() if password in str(c)] == []
    assert [
        c["Name"]
        for c in up.inspected()
        if c["State"]["Running"] and password in up.docker("top", c["Id"], "-eo", "pid,args")
    ] == []
