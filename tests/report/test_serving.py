"""The pages behind Airflow's login: who may read, what a path can reach. Airflow's own part is in tests/end_to_end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException

from estuaire.base.settings import Settings
from estuaire.report import serving


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    own = Settings(_env_file=None, home=tmp_path / "home")
    for path, content in {
        "reports/run-1.html": "<p>run 1</p>",
        "reports/latest.html": "<p>latest</p>",
        "reports/.report-half.html": "half",
        "reports/notes.txt": "no page",
        "reports-of-others/x.html": "SECRET",
        "quality/index.html": "<p>data docs</p>",
        "quality/static/x.css": "p{}",
        "quality/docs/index.html": "<p>one stage</p>",
        "models/index.html": "<p>lineage</p>",
        "secrets/airflow_admin": "SECRET",
        "secrets/x.html": "SECRET",
    }.items():
        file = own.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    (own.root / "reports" / "link.html").symlink_to(own.root / "secrets" / "x.html")
    (own.root / "models" / "link.html").symlink_to(own.root / "secrets" / "x.html")
    (own.root / "quality" / "way-out").symlink_to(own.root / "secrets")
    return own


def ask(
    settings: Settings, path: str, *, status: int | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body for a path as the server decodes it: no client tidies it before."""

    def access() -> None:
        if status is not None:
            raise HTTPException(status_code=status)

    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [], "server": ("127.0.0.1", 1), "client": None,
    }  # fmt: skip
    asyncio.run(serving.create_app(settings, access)(scope, receive, send))
    headers = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(m.get("body", b"") for m in sent[1:]).decode()


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("/reports/run-1.html", "run 1", "text/html"),
        ("/reports/latest.html", "latest", "text/html"),
        ("/reports/", "latest", "text/html"),
        ("/quality/", "data docs", "text/html"),
        ("/quality/docs/", "one stage", "text/html"),
        ("/quality/static/x.css", "p{}", "text/css"),
        ("/models/", "lineage", "text/html"),
        ("/models/index.html", "lineage", "text/html"),
    ],
)
def test_what_is_served(home: Settings, path: str, content: str, kind: str) -> None:
    status, headers, body = ask(home, path)
    assert (status, content in body) == (200, True)
    assert headers["content-type"].startswith(kind)
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert headers["content-security-policy"].startswith("sandbox") == (not path.startswith("/quality"))


@pytest.mark.parametrize(
    "path",
    [
        "/reports/../secrets/x.html",
        "/reports/..%2fsecrets%2fx.html",
        "/reports/%2e%2e/secrets/x.html",
        "/reports/....//secrets/x.html",
        "/reports/..\\secrets\\x.html",
        "/reports/../reports-of-others/x.html",
        "/reports/link.html",
        "/reports/.report-half.html",
        "/reports/notes.txt",
        "/reports/x\0.html",
        "/quality/../secrets/x.html",
        "/quality/docs/../../secrets/x.html",
        "/quality//../secrets/x.html",
        "/quality/way-out/x.html",
        "/quality/way-out/airflow_admin",
        "/quality/static/",
        "/models/../secrets/x.html",
        "/models/link.html",
    ],
)
def test_no_path_leads_out(home: Settings, path: str) -> None:
    status, _, body = ask(home, path)
    assert "SECRET" not in body
    assert "half" not in body
    # an asked name with a slash in it is not a report's: the latest one is shown, never another file
    assert status == 404 or (status == 200 and "latest" in body)
    absolute = f"{path.rsplit('/', 1)[0]}/{home.root}/secrets/x.html"
    assert "SECRET" not in ask(home, absolute)[2]


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    own = Settings(_env_file=None, home=tmp_path / "new")
    status, _, body = ask(own, "/reports/latest.html")
    assert status == 404
    assert "Rien ici" in body
    assert "Nothing here yet" in body
    assert ask(own, "/models/")[0] == 404
    status, _, body = ask(own, "/quality/")
    assert status == 200
    assert "Nothing here yet" in body


def test_data_docs_are_listed_by_run_and_stage(tmp_path: Path) -> None:
    own = Settings(_env_file=None, home=tmp_path / "home")
    for place in ("publish-1/marts", "ingest-1/landed", "<b>/marts"):
        page = own.root / "quality" / place / "index.html"
        page.parent.mkdir(parents=True)
        page.write_text("<p>counts</p>", encoding="utf-8")
    status, headers, body = ask(own, "/quality/index.html")
    assert status == 200
    assert body.count("<li>") == 3
    assert '<a href="publish-1/marts/index.html">publish-1 · marts</a>' in body
    assert "<b>" not in body
    assert "script-src" not in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "counts" in ask(own, "/quality/publish-1/marts/index.html")[2]


def test_the_models_page_runs_its_scripts_apart_from_airflows_pages(home: Settings) -> None:
    """Of an origin of its own (no allow-same-origin): its scripts have neither the reader's session nor a line to any host."""
    policy = ask(home, "/models/index.html")[1]["content-security-policy"]
    assert policy.split("; ")[0] == "sandbox allow-scripts"
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy
    assert "script-src" not in ask(home, "/quality/")[1]["content-security-policy"]


@pytest.mark.parametrize("path", ["/reports/run-1.html", "/quality/", "/models/", "/reports/../secrets/x.html"])
def test_nobody_reads_without_a_login(home: Settings, path: str) -> None:
    status, headers, body = ask(home, path, status=401)
    assert (status, body) == (302, "")
    assert headers["location"].startswith("/api/v2/auth/login?next=%2Festuaire%2F")
    assert ask(home, path, status=403)[0] == 403
    assert ask(home, path, method="POST")[0] == 405


def test_no_page_describes_the_application(home: Settings) -> None:
    for path in ("/docs", "/redoc", "/openapi.json", "/"):
        assert ask(home, path)[0] == 404
