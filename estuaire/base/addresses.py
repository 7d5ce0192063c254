"""Where Airflow's API server is found, by the settings."""

from __future__ import annotations

from estuaire.base.settings import Settings


def base_url(settings: Settings) -> str:
    """Address of the API server for the platform's own processes and commands."""
    return settings.airflow_internal_url.rstrip("/") or f"http://127.0.0.1:{settings.airflow_port}"


def public_url(settings: Settings) -> str:
    """Its address for a person's browser."""
    return settings.airflow_url.rstrip("/") or base_url(settings)
