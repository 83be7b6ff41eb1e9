"""What ingress is told by its environment."""

from pathlib import Path

from pydantic import Field, model_validator

from weirgate_chassis.settings import Address, ServiceSettings
from weirgate_contracts.injection import NEVER_INJECTED

_NO_TOKEN = NEVER_INJECTED | {"authorization", "proxy-authorization"}


class IngressSettings(ServiceSettings):
    """Settings of the ingress service, each as ``WEIRGATE_<NAME>``."""

    postgres_listen: Address = "127.0.0.1:5432"
    """Where PostgreSQL agents connect."""
    http_listen: Address | None = None
    """Where HTTP agents connect; absent: HTTP is not served."""
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    """Certificate agents see; absent: no TLS is offered, and then only loopback can log in."""
    forward_ca_cert_file: Path | None = None
    forward_ca_key_file: Path | None = None
    """Authority that certificates of hosts reached through CONNECT are issued by; absent: CONNECT is refused."""
    http_token_header: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]{1,64}$")
    """A field of HTTP whose value may be the token, for clients that know no other place for theirs (``X-Api-Key``)."""
    cleartext_loopback: bool = False
    """A token may come without TLS from this machine."""
    issuers_file: Path
    """Who may issue tokens."""
    recording_key_file: Path
    mask_key_file: Path
    """Keys, 32 bytes in hexadecimal digits."""
    verdict_deadline_s: float = Field(default=2.0, gt=0, le=60)
    """Longest wait for verdict and plan."""
    login_deadline_s: float = Field(default=10.0, gt=0, le=300)
    """Longest a connection may take to log in."""
    approvals_url: str = ""
    """Where people decide; shown in hold notices."""
    unauthenticated_limit: int = Field(default=2000, ge=1)
    """Connections that have not logged in; above it the oldest goes."""
    sessions_limit: int = Field(default=10_000, ge=1)

    @model_validator(mode="after")
    def _check_tls(self) -> "IngressSettings":
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("WEIRGATE_TLS_CERT_FILE and WEIRGATE_TLS_KEY_FILE go together")
        if (self.http_token_header or "").lower() in _NO_TOKEN:
            raise ValueError(
                f"WEIRGATE_HTTP_TOKEN_HEADER: {self.http_token_header} frames or describes a message"
            )
        if (self.forward_ca_cert_file is None) != (self.forward_ca_key_file is None):
            raise ValueError("WEIRGATE_FORWARD_CA_CERT_FILE and WEIRGATE_FORWARD_CA_KEY_FILE go together")
        return self
