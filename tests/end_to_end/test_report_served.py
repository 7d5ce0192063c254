"""The reports as Airflow really serves them: its plugin loads, its login guards, loopback only."""

from __future__ import annotations

from collections.abc import Iterator

import anonymous
import httpx2
import psutil
import pytest

from estuaire.base import addresses
from estuaire.base.settings import Settings
from estuaire.report import serving
from estuaire.stack import airflow, processes

pytestmark = pytest.mark.stack


@pytest.fixture
def pages(running_stack: Settings) -> Iterator[Settings]:
    for path, content in {
        "reports/latest.html": "LATEST", "quality/index.html": "DOCS", "quality/static/x.css": "p{}", "secrets/x.html": "SECRET",
    }.items():  # fmt: skip
        file = running_stack.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.write_text(content, encoding="utf-8")
    yield running_stack
    (running_stack.root / "secrets" / "x.html").unlink()


def token(settings: Settings, user: str, secret: str) -> str:
    body = {"username": user, "password": settings.secret(secret)}
    answer = httpx2.post(f"{addresses.base_url(settings)}/auth/token", json=body, trust_env=False)
    return str(answer.json()["access_token"])


def get(settings: Settings, path: str, cookie: str | None = None) -> httpx2.Response:
    headers = {"Cookie": f"_token={cookie}"} if cookie else {}
    return httpx2.get(f"{addresses.base_url(settings)}{path}", headers=headers, trust_env=False, timeout=30)


def test_nobody_reads_without_a_login_and_who_logged_in_reads(pages: Settings) -> None:
    for path in ("/estuaire/reports/latest.html", "/estuaire/quality/", "/estuaire/quality/static/x.css"):
        closed = get(pages, path)
        assert closed.status_code == 302
        assert closed.headers["location"].startswith("/api/v2/auth/login?next=")
        assert get(pages, path, "made.up.token").status_code in (302, 403)
    viewer = token(pages, airflow.VIEWER, airflow.VIEWER_SECRET)
    page = get(pages, "/estuaire/reports/latest.html", viewer)
    assert page.status_code == 200
    assert page.headers["content-security-policy"].startswith("sandbox")
    assert get(pages, "/estuaire/quality/", viewer).status_code == 200
    assert get(pages, "/estuaire/quality/static/x.css", viewer).headers["content-type"].startswith("text/css")


def test_every_page_and_api_asks_who_it_is(pages: Settings) -> None:
    server = addresses.base_url(pages)
    assert anonymous.answered(server) == []
    assert not anonymous.lets_in(server, airflow.ADMIN, "admin")
    assert anonymous.lets_in(server, airflow.ADMIN, pages.secret(airflow.ADMIN_SECRET))


@pytest.mark.parametrize(
    "path", ["reports/..%2fsecrets%2fx.html", "quality/..%2Fsecrets%2Fx.html", "quality/%2e%2e/secrets/x.html"]
)
def test_no_path_leads_out(pages: Settings, path: str) -> None:
    answer = get(pages, f"/estuaire/{path}", token(pages, airflow.ADMIN, airflow.ADMIN_SECRET))
    assert "SECRET" not in answer.text


def test_the_menu_has_them(pages: Settings) -> None:
    headers = {"Authorization": f"Bearer {token(pages, airflow.ADMIN, airflow.ADMIN_SECRET)}"}
    answer = httpx2.get(f"{addresses.base_url(pages)}/api/v2/plugins", headers=headers, trust_env=False)
    views = {v["name"]: v["href"] for p in answer.json()["plugins"] for v in p["external_views"]}
    assert views["Estuaire"] == f"{serving.PREFIX}/reports/latest.html"
    assert "Data Docs" in views
    assert views["Models"] == f"{serving.PREFIX}/models/index.html"
    errors = httpx2.get(f"{addresses.base_url(pages)}/api/v2/plugins/importErrors", headers=headers, trust_env=False)
    assert errors.json()["total_entries"] == 0


def test_loopback_only(pages: Settings) -> None:
    server = processes.find(pages, "api-server")
    assert server is not None
    listening = {
        c.laddr.ip
        for p in (server, *server.children(recursive=True))
        for c in psutil.Process(p.pid).net_connections("tcp")
        if c.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
