"""A way to a PostgreSQL that speaks TLS alone, for pg_dump and pg_restore: those of the wheel are built without TLS.

This process speaks TLS to the server and checks it as the settings say; the programs find a Unix socket in a folder of mode 0700.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from estuaire.base import private_files
from estuaire.base.settings import Settings

_ASK_FOR_TLS = struct.pack("!ii", 8, 80877103)  # PostgreSQL's SSLRequest
_SASL = struct.pack("!i", 10)  # an authentication request by a list of mechanisms
_BLOCK = 1 << 18


@contextmanager
def open_way(settings: Settings) -> Iterator[dict[str, str]]:
    """libpq's keywords of a way to the server that a program without TLS can go: as the settings have it, or through this process."""
    line = settings.postgres_line()
    if not settings.postgres_host or settings.postgres_sslmode == "disable":
        yield line
        return
    with tempfile.TemporaryDirectory(prefix="estuaire-pg-") as name:  # mode 0700
        folder = Path(name)
        password_file = folder / "pgpass"
        private_files.new_file(password_file)
        password_file.write_text(_passwords(settings), encoding="utf-8")
        socket = folder / f".s.PGSQL.{settings.postgres_port}"
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            server = asyncio.run_coroutine_threadsafe(_serve(settings, socket), loop).result(10)
            yield {"host": name, "port": str(settings.postgres_port), "passfile": str(password_file)}
            asyncio.run_coroutine_threadsafe(_close(server), loop).result(10)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)


def _passwords(settings: Settings) -> str:
    """The lines of the password file that are for this server, for any address: the programs see another one."""
    kept = []
    for line in settings.passfile.read_text(encoding="utf-8").splitlines():
        fields = re.split(r"(?<!\\):", line)
        if len(fields) != 5 or line.startswith("#"):
            continue
        host, port = (re.sub(r"\\(.)", r"\1", field) for field in fields[:2])
        if host in ("*", settings.postgres_host) and port in ("*", str(settings.postgres_port)):
            kept.append(":".join(["*", "*", *fields[2:]]))
    return "".join(f"{line}\n" for line in kept)


def tls(settings: Settings) -> ssl.SSLContext:
    """How the server's identity is checked, in libpq's words: not at all (``require`` without a certificate), its authority, its name, too."""
    context = ssl.create_default_context(
        cafile=str(settings.postgres_root_certificate) if settings.postgres_root_certificate else None
    )
    context.check_hostname = settings.postgres_sslmode == "verify-full"
    if settings.postgres_sslmode == "require" and settings.postgres_root_certificate is None:
        context.verify_mode = ssl.CERT_NONE
    return context


async def _serve(settings: Settings, socket: Path) -> asyncio.Server:
    context = tls(settings)

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):  # the program sees its connection closed, and says so
            there, back = await asyncio.open_connection(settings.postgres_host, settings.postgres_port, limit=_BLOCK)
            try:
                back.write(_ASK_FOR_TLS)
                if await there.readexactly(1) == b"S":
                    await back.start_tls(context, server_hostname=settings.postgres_host)
                    await asyncio.gather(_carry(reader, back), _answer(there, writer))
            finally:
                back.close()
        writer.close()

    return await asyncio.start_unix_server(one, socket, limit=_BLOCK)


async def _answer(there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry the server's answers. Its list of mechanisms goes on without those that bind the password's proof to the TLS line: the program
    has no such line and takes the offer for a forgery. The line was checked here."""
    with suppress(asyncio.IncompleteReadError):  # a request to cancel is answered by nothing
        kind = b""
        while kind not in (b"R", b"E"):
            head = await there.readexactly(5)
            kind, length = struct.unpack("!ci", head)
            body = await there.readexactly(length - 4)
            if kind == b"R" and body.startswith(_SASL):
                offered = [name for name in body[4:].split(b"\0") if name and not name.endswith(b"-PLUS")]
                body = _SASL + b"".join(name + b"\0" for name in offered) + b"\0"
            writer.write(struct.pack("!ci", kind, len(body) + 4) + body)
        await _carry(there, writer)
    writer.close()


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(_BLOCK):
            target.write(data)
            await target.drain()
    with suppress(OSError):
        target.close()


async def _close(server: asyncio.Server) -> None:
    server.close()
