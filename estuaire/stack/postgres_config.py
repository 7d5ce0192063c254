"""Configuration of the embedded PostgreSQL, as text. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

HBA = """\
# Written by estuaire at each start. A password always: nothing is trusted, on the socket or over TCP.
local all all                scram-sha-256
host  all all 127.0.0.1/32   scram-sha-256
"""
# In a container: whoever shares its network, which nothing else does
HBA_OF_CONTAINER = f"{HBA}host  all all samenet       scram-sha-256\n"


def server_config(
    *, port: int, socket_dir: Path, small_shared_memory: bool, memory: float, listen: str = "127.0.0.1"
) -> str:
    """postgresql.conf for a machine with 2 cores or more and 4 GiB or more.

    Durability is PostgreSQL's default (``fsync``, ``synchronous_commit``). Error details and statements are not logged:
    they could hold a patient's value.

    Args:
        small_shared_memory: /dev/shm is small (a container's 64 MiB): parallel queries take files instead.
        memory: of the machine, in bytes. A sort or hash may take a 96th of it, 64 to 256 MiB (dbt runs two queries, each with up
            to three workers); with less the twelve million administrations go through files.
    """
    return render(
        {
            "listen_addresses": listen,
            "port": port,
            "unix_socket_directories": str(socket_dir),
            "unix_socket_permissions": "0700",
            "max_connections": 100,
            "reserved_connections": 60,  # for the pipeline and Airflow (roles.PIPELINE): others leave them free
            "authentication_timeout": "30s",  # a connection that never says who it is takes a place, too
            "password_encryption": "scram-sha-256",
            "shared_buffers": "512MB",
            "work_mem": f"{min(256, max(64, int(memory / 96 / 2**20)))}MB",
            "maintenance_work_mem": "256MB",
            "effective_cache_size": "3GB",
            "dynamic_shared_memory_type": "mmap" if small_shared_memory else "posix",
            "jit": "off",
            "random_page_cost": 1.1,
            "wal_level": "minimal",
            "max_wal_senders": 0,
            "max_wal_size": "8GB",
            "checkpoint_timeout": "15min",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_destination": "stderr",
            "logging_collector": "off",
            "log_line_prefix": "%m [%p] %q%u@%d ",
            "log_checkpoints": "off",
            "log_error_verbosity": "terse",
            "log_min_error_statement": "panic",
            "log_parameter_max_length": 0,
            "log_parameter_max_length_on_error": 0,
        }
    )


def render(options: Mapping[str, str | int | float]) -> str:
    """``name = 'value'`` lines, quoted as PostgreSQL reads them."""
    lines = ["# Written by estuaire at each start; changes are lost."]
    for name, value in options.items():
        quoted = str(value).replace("'", "''")
        lines.append(f"{name} = '{quoted}'")
    return "\n".join(lines) + "\n"


def passfile(passwords: Mapping[str, str]) -> str:
    """libpq password file: any host, port and database, one line per role."""
    lines = [f"*:*:*:{_escape(role)}:{_escape(password)}" for role, password in passwords.items()]
    return "\n".join(lines) + "\n"


def _escape(field: str) -> str:
    return field.replace("\\", "\\\\").replace(":", "\\:")
