"""The page that Prometheus reads: metrics for whoever bears the token, 401 for anybody else, whatever the path."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from estuaire.base.errors import SetupError
from estuaire.operations.metrics.collector import PATIENCE, PlatformCollector
from estuaire.stack.exporter import TOKEN
from estuaire.storage.platform import Platform

App = Callable[..., Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = 10  # seconds without a byte from the caller

    def log_message(self, format: str, *_: Any) -> None:
        """A scrape is no event."""

    def address_string(self) -> str:
        return str(self.client_address[0])  # no look-up of names


def asking_for(token: str, app: App) -> App:
    """``app`` for requests with ``Authorization: Bearer <token>``; 401 for any other."""
    wanted = f"Bearer {token}".encode()

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        said = str(environ.get("HTTP_AUTHORIZATION", "")).encode("utf-8", "replace")
        if hmac.compare_digest(said, wanted):
            return app(environ, start_response)
        start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Type", "text/plain")])
        return [b"401: this page asks for a token (docs/engineers/monitor.md)\n"]

    return guarded


def build(
    platform: Platform, *, host: str | None = None, port: int | None = None, patience: float = PATIENCE
) -> WSGIServer:
    """The server, bound and not yet serving.

    Raises:
        SecretUnusable: there is no token.
        SetupError: no port is set, or it is taken.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(PlatformCollector(platform, patience))
    app = asking_for(platform.settings.secret(TOKEN), make_wsgi_app(registry))
    port = platform.settings.metrics_port if port is None else port
    try:
        return make_server(host or platform.settings.metrics_bind, port, app, _Server, _Handler)
    except OSError as error:
        raise SetupError(
            f"port {port} cannot be listened on ({error.strerror})", remedy="choose another ESTUAIRE_METRICS_PORT"
        ) from error


def serve(platform: Platform) -> None:
    """Answer scrapes until the process is ended."""
    build(platform).serve_forever()
