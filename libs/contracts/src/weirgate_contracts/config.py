"""The documents `weirgate apply` publishes, as they stand in ``ConfigPublished.body``."""

import re
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from weirgate_contracts.authority import split_authority
from weirgate_contracts.masking import MaskingRule
from weirgate_contracts.value import LabelName, ResourceName, Value

CREDENTIAL_SCHEMES = ("env", "file")
"""Where a credential can be read from. A value written out is refused."""


def _credential_reference(value: str | None) -> str | None:
    if value is None:
        return None
    scheme, colon, rest = value.partition(":")
    if not colon or scheme not in CREDENTIAL_SCHEMES or not rest:
        raise ValueError("a credential is a reference, env:NAME or file:/path, never the value itself")
    return value


_FIELD_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
INJECT = re.compile(rf"bearer|basic|header:{_FIELD_NAME}|query:[A-Za-z0-9._~-]+")
ROUTE = re.compile(r"/(?:(?:[A-Za-z0-9._~!$&'()*+,;=:@%-]+|\{[A-Za-z_][A-Za-z0-9_]*\})(?:/|$))*")
HOSTS_LIMIT = 64
"""Most authorities of one resource."""
FIELD = re.compile(r"(?:\*|/\S*) (?:/[^/\s]+)+")


def _is_empty(value: object) -> bool:
    """Say whether a list is left out, so that a document without it is published as it always was."""
    return not value


class ResourceDocument(Value):
    """One registered upstream."""

    name: ResourceName
    protocol: Literal["postgres", "http", "mcp"]
    upstream: str
    """``postgresql://user@host:port/database?sslmode=…`` without a password; sslmode as in libpq, and
    ``sslrootcert``, ``channel_binding``. Of HTTP ``http://host:port/base`` or ``https://…``: what stands before every
    path that is sent."""
    credential: str | None = None
    """Reference to the upstream password; absent where the upstream asks for none."""
    catalog: str | None = None
    """The same for policy's own least-privileged login; absent: ``upstream`` with ``credential``."""
    catalog_credential: str | None = None
    inject: str | None = None
    """Of HTTP: how the credential is sent: ``bearer``, ``basic`` (it is ``user:password``), ``header:NAME``,
    ``query:NAME``. Absent: none is sent."""
    ca: str | None = None
    """Of HTTP: file with the certificates that an ``https`` upstream is verified against; absent: the system's."""
    routes: tuple[str, ...] = ()
    """Of HTTP: templates of paths that rules and labels name: ``/v1/customers/{id}``. A name stands for one
    segment."""
    unread: Literal["pass", "refuse"] | None = None
    """Of HTTP: what becomes of an answer of a type that masking cannot read. Absent: it is refused where the resource
    has labels, else passed."""

    hosts: tuple[str, ...] = Field(default=(), max_length=HOSTS_LIMIT, exclude_if=_is_empty)
    """Of HTTP and MCP: authorities under which agents reach it beside ``/<name>/…``: ``api.internal`` (any port of
    the gateway; 80 and 443 through the proxy) or ``api.internal:8443``. Lower case; each of one resource only."""

    _check_credential = field_validator("credential", "catalog_credential")(_credential_reference)

    @field_validator("upstream", "catalog")
    @classmethod
    def _check_upstream(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.password is not None:
            raise ValueError("no password in the address; name it by 'credential: env:NAME'")
        return value

    @field_validator("inject")
    @classmethod
    def _check_inject(cls, value: str | None) -> str | None:
        if value is not None and INJECT.fullmatch(value) is None:
            raise ValueError(
                f"{value!r} is no way to send a credential; write bearer, basic, header:NAME or query:NAME"
            )
        return value

    @field_validator("routes")
    @classmethod
    def _check_routes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for route in value:
            if ROUTE.fullmatch(route) is None:
                raise ValueError(f"{route!r} is no template; write /v1/customers/{{id}}")
        return value

    @field_validator("hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            split_authority(host)
        if len(set(value)) != len(value):
            raise ValueError("a host stands twice; keep one of them")
        return value

    @model_validator(mode="after")
    def _check_protocol(self) -> Self:
        parts = urlsplit(self.upstream)
        if self.protocol == "postgres":
            for address in (self.upstream, self.catalog):
                of = urlsplit(address or self.upstream)
                if of.scheme not in ("postgresql", "postgres") or not of.hostname or not of.username:
                    raise ValueError("write postgresql://user@host:port/database")
            only_http = ("inject", "ca", "routes", "unread", "hosts")
            if given := [name for name in only_http if getattr(self, name)]:
                raise ValueError(f"{given[0]!r} is for protocol http")
            return self
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write https://host:port/base")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError(
                "an upstream of HTTP has no user, query or fragment; write https://host:port/base"
            )
        if self.catalog is not None or self.catalog_credential is not None:
            raise ValueError("'catalog' is for protocol postgres")
        if (self.credential is None) != (self.inject is None):
            raise ValueError("'credential' and 'inject' go together; write 'inject: bearer'")
        return self


class LabelsDocument(Value):
    """Labels on what one resource holds."""

    resource: ResourceName
    columns: dict[str, LabelName] = Field(default_factory=dict)
    """Of PostgreSQL: ``schema.table.column`` to label."""
    fields: dict[str, LabelName] = Field(default_factory=dict)
    """Of HTTP: a route and a pattern (``FieldPlan.pattern``) to label: ``/v1/customers/{id} /email``, or ``* /**/ssn``
    for every route."""

    @field_validator("columns")
    @classmethod
    def _check_columns(cls, value: dict[str, str]) -> dict[str, str]:
        for column in value:
            if column.count(".") < 2:
                raise ValueError(f"{column!r}: write schema.table.column")
        return value

    @field_validator("fields")
    @classmethod
    def _check_fields(cls, value: dict[str, str]) -> dict[str, str]:
        for field in value:
            if FIELD.fullmatch(field) is None or "**" in field.partition(" ")[2].split("/")[2:]:
                raise ValueError(
                    f"{field!r}: write a route and a pointer, for instance '/v1/customers/{{id}} /email'"
                )
        return value


class MaskingDocument(Value):
    """How labels are masked; rules in order, the first that matches counts."""

    name: ResourceName = "default"
    rules: tuple[MaskingRule, ...]


class PolicyDocument(Value):
    """One Cedar policy set."""

    name: ResourceName
    cedar: str = Field(max_length=512 * 1024)
    """The text of the ``.cedar`` file."""


class ReviewersDocument(Value):
    """A name for the people who can be asked: ``@hold("dba")`` names one of these."""

    name: ResourceName
    groups: tuple[str, ...]
    """A person in any of these groups speaks for it."""
