"""Where everything of an embedded gateway lives, and on which ports."""

import json
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_PORT_BASE = 7400
PORTS = (
    "postgres", "http", "ssh", "console", "nats", "nats_monitor", "read_model", "upstream", "crm", "models", "helpdesk",
)  # fmt: skip
SERVICES = ("recorder", "policy", "masking", "approval", "console", "ingress")
"""In the order they are started; stopped the other way round, so that what is under way is still recorded."""


class UpRefused(Exception):
    """`weirgate up` cannot do what was asked; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Paths and ports of one data directory."""

    directory: Path
    port_base: int

    @property
    def secrets(self) -> Path:
        return self.directory / "secrets"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def tls(self) -> Path:
        return self.directory / "tls"

    @property
    def endpoints(self) -> Path:
        return self.directory / "endpoints.json"

    @property
    def run_file(self) -> Path:
        """Pids of our children, so that the next start can end what a killed one left behind."""
        return self.directory / "run.json"

    def nkey(self, user: str) -> Path:
        """Seed file of a NATS user."""
        return self.secrets / "nkeys" / f"{user}.nk"

    def port(self, name: str) -> int:
        """Return the port of one of :data:`PORTS`, or (base + 20 + its number) of a service's ``<name> health``."""
        if name in PORTS:
            return self.port_base + PORTS.index(name)
        return self.port_base + 20 + SERVICES.index(name.removesuffix(" health"))

    def ports(self) -> dict[str, int]:
        """Every port this gateway listens on."""
        listening = (
            "postgres",
            "http",
            "console",
            "nats",
            "read_model",
            "upstream",
            "crm",
            "models",
            "helpdesk",
        )
        return {
            name: self.port(name) for name in (*listening, *(f"{service} health" for service in SERVICES))
        }

    def make(self) -> None:
        """Make the directories, none of them readable by others."""
        for path in (self.directory, self.secrets, self.secrets / "nkeys", self.logs, self.tls):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def secret(self, name: str, *, length: int = 32) -> str:
        """Return a secret in hexadecimal, made on first use and kept in a file of its own."""
        path = self.secrets / name
        if not path.exists():
            write_private(path, secrets.token_hex(length))
        return path.read_text().strip()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
    part.replace(path)


def write_json(path: Path, body: Any) -> None:
    """Write JSON, private, whole or not at all."""
    write_private(path, json.dumps(body, indent=2) + "\n")


def check_ports(layout: Layout) -> None:
    """Refuse to start on a port somebody else has.

    Raises:
        UpRefused: naming the port, what it is for, and who has it where that can be seen.
    """
    for name, port in layout.ports().items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise UpRefused(
                    f"port {port} ({name}) is already taken{_owner(port)}; stop that, or start with another "
                    f"--port-base (now {layout.port_base})"
                ) from error


def _owner(port: int) -> str:
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                if connection.pid is None:
                    return ""
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return ""
    return ""
