"""What the console is told, from the environment."""

from pathlib import Path

from pydantic import Field

from weirgate_chassis.settings import Address, ServiceSettings


class ConsoleSettings(ServiceSettings):
    """Settings of the console."""

    console_listen: Address = "127.0.0.1:7403"
    """Where REST is served. The console speaks clear HTTP: past loopback, put TLS before it."""
    read_model_dsn: str = ""
    """PostgreSQL of the read model. Nothing that decides depends on it."""
    issuers_file: Path
    """Whose tokens people sign in with (``issuers.json``)."""
    issuer_key_file: Path | None = None
    """Private JWK of the development issuer; absent: no tokens are minted here."""
    jwks_file: Path | None = None
    """Its public half, by which its entry in ``issuers.json`` is found."""
    admin_token_file: Path | None = None
    """The local administrator's token; absent: there is none."""
    token_ttl_limit_s: int = Field(default=24 * 3600, ge=60)
    """Longest life of a minted token."""
    decision_deadline_s: float = Field(default=5.0, gt=0)
    """Longest a decision waits for what became of it."""
    request_deadline_s: float = Field(default=30.0, gt=0)
    """Longest any call may take."""
    calls_limit: int = Field(default=256, ge=8)
    """Connections served at a time; more are told to come back."""
