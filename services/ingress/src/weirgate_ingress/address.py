"""The address of an upstream, read as libpq reads it; what is not understood is refused, not ignored.

Source: PostgreSQL manual, "Connection URIs" and "Parameter Key Words".
"""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal, cast, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

from weirgate_contracts.config import ResourceDocument
from weirgate_wire.postgres.login import ALL_METHODS, Method

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
BindingMode = Literal["disable", "prefer", "require"]

CONNECT_TIMEOUT_S: Final = 10.0
_KNOWN: Final = frozenset(
    (
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "channel_binding",
        "sslnegotiation",
        "require_auth",
        "connect_timeout",
        "application_name",
        "gssencmode",
    )
)


class AddressError(ValueError):
    """The address cannot be used. The text names the parameter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamAddress:
    """Where an upstream is and how to reach it."""

    host: str
    port: int
    user: str
    database: str
    sslmode: SslMode = "prefer"
    sslrootcert: Path | Literal["system"] | None = None
    sslcert: Path | None = None
    sslkey: Path | None = None
    direct: bool = False
    """TLS from the first byte (``sslnegotiation=direct``)."""
    binding_mode: BindingMode = "prefer"
    methods: frozenset[Method] = ALL_METHODS
    cleartext_asked: bool = False
    """``require_auth`` names ``password``: it may go in clear even over an open line."""
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    application: str | None = None

    @property
    def loopback(self) -> bool:
        """Whether nobody else is on the line."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def read_address(resource: ResourceDocument) -> UpstreamAddress:
    """Read the address of a resource.

    Raises:
        AddressError: a parameter is unknown, has no such value, or contradicts another.
    """
    try:
        parts = urlsplit(resource.upstream)
        port = parts.port or 5432
    except ValueError as error:
        raise AddressError("the port is not a number") from error
    if not parts.hostname or not parts.username:
        raise AddressError("host or user is missing")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    given = dict(pairs)
    if len(given) != len(pairs):
        raise AddressError("a parameter stands twice")
    unknown = sorted(set(given) - _KNOWN)
    if unknown:
        raise AddressError(f"parameter {unknown[0]!r} is not supported")
    if given.get("gssencmode", "prefer") == "require":
        raise AddressError("gssencmode=require is not supported")
    user = unquote(parts.username)
    address = UpstreamAddress(
        host=unquote(parts.hostname),
        port=port,
        user=user,
        database=unquote(parts.path.removeprefix("/")) or user,
        sslmode=cast("SslMode", _choice(given, "sslmode", get_args(SslMode), "prefer")),
        sslrootcert=_root(given.get("sslrootcert")),
        sslcert=_path(given.get("sslcert")),
        sslkey=_path(given.get("sslkey")),
        direct=_choice(given, "sslnegotiation", ("postgres", "direct"), "postgres") == "direct",
        binding_mode=cast("BindingMode", _choice(given, "channel_binding", get_args(BindingMode), "prefer")),
        methods=_methods(given.get("require_auth")),
        cleartext_asked="password" in given.get("require_auth", "").split(","),
        connect_timeout_s=_timeout(given.get("connect_timeout")),
        application=given.get("application_name"),
    )
    _check(address)
    return address


def _check(address: UpstreamAddress) -> None:
    weak = address.sslmode in ("disable", "allow", "prefer")
    if address.direct and weak:
        # As libpq: without SSLRequest there is no going back to an open line.
        raise AddressError("sslnegotiation=direct needs sslmode=require or stronger")
    if address.sslrootcert == "system" and address.sslmode != "verify-full":
        raise AddressError("sslrootcert=system needs sslmode=verify-full")
    if address.sslmode == "verify-ca" and address.sslrootcert is None:
        raise AddressError("sslmode=verify-ca needs sslrootcert")
    if (address.sslcert is None) != (address.sslkey is None):
        raise AddressError("sslcert and sslkey go together")


def _choice(given: dict[str, str], name: str, choices: tuple[str, ...], default: str) -> str:
    value = given.get(name, default)
    if value not in choices:
        raise AddressError(f"{name} is one of {', '.join(choices)}")
    return value


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None


def _root(value: str | None) -> Path | Literal["system"] | None:
    return "system" if value == "system" else _path(value)


def _methods(value: str | None) -> frozenset[Method]:
    if not value:
        return ALL_METHODS
    names = value.split(",")
    negative = [name for name in names if name.startswith("!")]
    if negative and len(negative) != len(names):
        raise AddressError("require_auth is all with '!' or all without")
    chosen = {name.removeprefix("!") for name in names}
    if not chosen <= ALL_METHODS:
        raise AddressError(f"require_auth knows {', '.join(sorted(ALL_METHODS))}")
    allowed = ALL_METHODS - chosen if negative else chosen
    return frozenset(cast("set[Method]", set(allowed)))


def _timeout(value: str | None) -> float:
    if value is None:
        return CONNECT_TIMEOUT_S
    if not value.isdecimal() or not 1 <= int(value) <= 300:
        raise AddressError("connect_timeout is 1 to 300 seconds")
    return float(value)
