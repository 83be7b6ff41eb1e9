"""Real PostgreSQL servers for tests: 18 from the wheel (no TLS), or Debian's with TLS and every login method.

Use as context managers, best from a session-wide fixture::

    with running_postgres(tmp_path_factory.mktemp("pg")) as pg:
        pg.psql("create table t (a int)")
        asyncpg.connect(pg.dsn())
"""

import contextlib
from collections.abc import Generator, Mapping
from pathlib import Path

from weirgate_embedded.certificate import make_certificates
from weirgate_embedded.postgres import Postgres
from weirgate_testkit.port import free_port

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Settings for servers whose durability is not what is tested."""


@contextlib.contextmanager
def running_postgres(
    directory: Path, *, settings: Mapping[str, str] | None = None, hba: str | None = None
) -> Generator[Postgres]:
    """Run PostgreSQL 18 (no TLS built in) under ``directory`` on a free port."""
    yield from _run(
        Postgres(directory=directory / "pg", port=free_port(), password="postgres-password"), settings, hba
    )


@contextlib.contextmanager
def running_postgres_tls(
    directory: Path, *, settings: Mapping[str, str] | None = None, hba: str | None = None
) -> Generator[Postgres]:
    """Run Debian's PostgreSQL with TLS on; ``directory/ca.pem`` is the authority, names localhost and 127.0.0.1.

    The default ``hba`` asks every login for SCRAM over TLS. Write other lines (``md5``, ``password``, ``trust``,
    ``hostnossl`` …) for other methods.
    """
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not binaries:
        raise RuntimeError("Debian's package postgresql is not installed; tests/needs.sh installs it")
    make_certificates(directory)
    server = Postgres(
        directory=directory / "pg", port=free_port(), password="postgres-password", bin_dir=binaries[-1]
    )
    tls = {
        "ssl": "on",
        "ssl_cert_file": str(directory / "server.pem"),
        "ssl_key_file": str(directory / "server.key"),
    }
    yield from _run(server, tls | dict(settings or {}), hba or "hostssl all all 127.0.0.1/32 scram-sha-256\n")


def _run(server: Postgres, settings: Mapping[str, str] | None, hba: str | None) -> Generator[Postgres]:
    server.initialise()
    server.settings = FAST | dict(settings or {})
    if hba is not None:
        server.hba = hba
    server.start()
    try:
        yield server
    finally:
        server.stop()
