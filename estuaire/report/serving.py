"""Shows reports, Data Docs and the models' page behind Airflow's login: ``/estuaire/reports/<run>.html``, ``/estuaire/quality/...`` and
``/estuaire/models/`` of the API server.

Security properties: the API server listens on loopback; each route asks Airflow who the user is; a path leads to a plain file
below its own folder or to nothing, whatever it holds (.., an encoded slash, a link); a report and the models' page run in a sandbox (of another origin than Airflow's
pages: their scripts cannot speak for the reader) and load nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from estuaire.base.settings import Settings
from estuaire.base.texts import LANGUAGES, say
from estuaire.report import files

PREFIX = "/estuaire"
_LOGIN = "/api/v2/auth/login"
_TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".json": "application/json",
    ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon", ".woff": "font/woff", ".woff2": "font/woff2",
}  # fmt: skip
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_REPORT_POLICY = (
    "sandbox allow-scripts allow-popups; frame-ancestors 'self'"  # the page brings the rest of its policy itself
)
# the gates write pages without scripts; none would run here
_QUALITY_POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'"
)
# dbt's page is an AngularJS application in one file, which compiles its expressions; it has no line to any host
MODELS_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "base-uri 'none'; form-action 'none'"
)
_MODELS_SANDBOX = f"sandbox allow-scripts; {MODELS_POLICY}; frame-ancestors 'self'"
_PAGE = '<!DOCTYPE html><meta charset="utf-8"><title>Estuaire</title>'


def _not_there() -> str:
    return _PAGE + "".join(f'<p lang="{lang}">{say(lang, "report.not_there")}</p>' for lang in LANGUAGES)


def address(settings: Settings, name: str = files.LATEST) -> str:
    """Where a browser finds a report."""
    from estuaire.base.addresses import public_url

    return f"{public_url(settings)}{PREFIX}/reports/{name}"


def quality_folder(settings: Settings) -> Path:
    """Where the gates write their Data Docs."""
    return settings.root / "quality"


def models_folder(settings: Settings) -> Path:
    """Where a publication writes the page of its models."""
    return settings.root / "models"


def below(folder: Path, asked: str) -> Path | None:
    """The plain file that ``asked`` names below ``folder`` (its index.html for a folder), or None."""
    parts = asked.split("/")
    if "\\" in asked or "\0" in asked or asked.startswith("/") or any(p.startswith(".") for p in parts):
        return None
    try:
        root = folder.resolve(strict=True)
        path = root.joinpath(*[p for p in parts if p])
        path = (path / "index.html" if path.is_dir() else path).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        return None
    return path if path.is_relative_to(root) and path.is_file() and path.suffix in _TYPES else None


def quality_index(settings: Settings) -> str:
    """A page that names the Data Docs of each run and stage, newest first."""
    root = quality_folder(settings)
    index_pages = sorted(root.glob("*/*/index.html"), key=lambda page: (-page.stat().st_mtime, page))
    links = [
        f'<li><a href="{quote(page.relative_to(root).as_posix())}">{escape(page.parent.parent.name)} · {escape(page.parent.name)}</a></li>'
        for page in index_pages
    ]
    if not links:
        return _not_there()
    models = escape(" / ".join(say(language, "report.models_page") for language in LANGUAGES))
    return (
        '<!DOCTYPE html><meta charset="utf-8"><title>Estuaire · Data Docs</title><body style="font:15px system-ui,sans-serif;margin:2rem">'
        f'<p><a href="../models/index.html">{models}</a></p>'
        f"<h1>Data Docs</h1><ul>{''.join(links)}</ul>"
    )


def create_app(settings: Settings, access: Callable[..., Any]) -> Any:
    """The application. ``access`` is the dependency that lets a request pass or raises 401 or 403."""
    from fastapi import Depends, FastAPI, HTTPException, Request
    from fastapi.responses import HTMLResponse, RedirectResponse, Response

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, dependencies=[Depends(access)])

    def serve(folder: Path, asked: str, policy: str) -> Response:
        path = below(folder, asked)
        if path is None:
            return HTMLResponse(_not_there(), 404, _HEADERS | {"Content-Security-Policy": _REPORT_POLICY})
        headers = _HEADERS | {"Content-Security-Policy": policy}
        return Response(path.read_bytes(), headers=headers, media_type=_TYPES[path.suffix])

    def reports(asked: str) -> Response:
        return serve(files.folder(settings), asked if asked.count("/") == 0 and asked else files.LATEST, _REPORT_POLICY)

    def quality(asked: str) -> Response:
        if asked in ("", "index.html") and below(quality_folder(settings), asked) is None:
            return HTMLResponse(quality_index(settings), 200, _HEADERS | {"Content-Security-Policy": _QUALITY_POLICY})
        return serve(quality_folder(settings), asked, _QUALITY_POLICY)

    def models(asked: str) -> Response:
        return serve(models_folder(settings), asked, _MODELS_SANDBOX)

    async def log_in(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it alone
        if error.status_code != 401:
            return Response("not allowed", error.status_code, _HEADERS)
        there = f"{PREFIX}{quote(request.url.path.removeprefix(PREFIX))}"
        return RedirectResponse(f"{_LOGIN}?next={quote(there, safe='')}", 302, _HEADERS)

    app.add_api_route("/reports/{asked:path}", reports, methods=["GET"])
    app.add_api_route("/quality/{asked:path}", quality, methods=["GET"])
    app.add_api_route("/models/{asked:path}", models, methods=["GET"])
    app.add_exception_handler(HTTPException, log_in)
    return app


class Lazy:
    """The application as Airflow mounts it, made at the first request: each task loads the plugin, only the API server needs this."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._app is None:
            from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
            from airflow.api_fastapi.core_api.security import requires_access_view

            self._app = create_app(Settings(), requires_access_view(AccessView.WEBSITE))
        await self._app(scope, receive, send)
