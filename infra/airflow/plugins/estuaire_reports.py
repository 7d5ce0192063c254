"""Airflow's plugin: the run reports and Data Docs behind Airflow's login, with a place in its menu. Wiring only."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from estuaire.report.serving import PREFIX, Lazy


class EstuaireReports(AirflowPlugin):  # type: ignore[misc] # Airflow is not typed for us
    name = "estuaire_reports"
    fastapi_apps = [{"app": Lazy(), "url_prefix": PREFIX, "name": "Estuaire reports"}]  # noqa: RUF012 - Airflow's own form
    external_views = [  # noqa: RUF012
        {"name": "Estuaire", "href": f"{PREFIX}/reports/latest.html", "url_route": "estuaire", "destination": "nav"},
        {"name": "Data Docs", "href": f"{PREFIX}/quality/index.html", "url_route": "data-docs", "destination": "nav"},
        {"name": "Models", "href": f"{PREFIX}/models/index.html", "url_route": "models", "destination": "nav"},
    ]
