"""The locked packages of the profile `scale` fit together; what runs them in containers is tests/compose/test_compose_scale.py."""

from __future__ import annotations

import importlib

import pytest

from estuaire.base.settings import Settings


@pytest.mark.parametrize("executor", Settings.model_fields["executor"].annotation.__args__)  # type: ignore[union-attr]
def test_every_executor_that_the_settings_allow_can_be_loaded(executor: str) -> None:
    """As the scheduler loads it at its start: celery 5.7 had not what its Airflow provider imports, and the scheduler ended again and again."""
    from airflow.executors.executor_loader import ExecutorLoader

    module, name = ExecutorLoader.executors[executor].rsplit(".", 1)
    assert isinstance(getattr(importlib.import_module(module), name), type)


def test_a_worker_can_be_started() -> None:
    from airflow.providers.celery.cli import celery_command

    assert callable(celery_command.worker)
    assert importlib.import_module("airflow.providers.celery.executors.celery_executor").app is not None
