"""The documents `weirgate apply` publishes, as they stand in ``ConfigPublished.body``."""

import re
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from weirgate_contracts.injection import (
    INJECT,
    NEVER_INJECTED,
    WAYS,
    OAuth2Document,
    SigV4Document,
    credential_reference,
)
from weirgate_contracts.masking import MaskingRule
from weirgate_contracts.model import ModelApi
from weirgate_contracts.value import LabelName, ResourceName, Value, is_absent

ROUTE = re.compile(r"/(?:(?:[A-Za-z0-9._~!$&'()*+,;=:@%-]+|\{[A-Za-z_][A-Za-z0-9_]*\})(?:/|$))*")
FIELD = re.compile(r"(?:\*|/\S*) (?:/[^/\s]+)+")


HOLD_WAIT_S = 30
"""How long a held request waits in flight unless its resource says otherwise. Whoever stands between an agent and the
gateway gives up on a silent answer after 60 s (nginx ``proxy_read_timeout``, load balancers of AWS) or 30 s (Heroku's
router); clients that give up sooner (httpx: 5 s) can ask for less by ``Prefer: respond-async``."""
HOLD_WAIT_LIMIT_S = 3600


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
    ``query:NAME``, ``oauth2``, ``sigv4``. Absent: none is sent."""
    oauth2: OAuth2Document | None = Field(default=None, exclude_if=is_absent)
    """Of HTTP with ``inject: oauth2``."""
    sigv4: SigV4Document | None = Field(default=None, exclude_if=is_absent)
    """Of HTTP with ``inject: sigv4``."""
    client_cert: str | None = Field(default=None, exclude_if=is_absent)
    """Of HTTP: reference to the PEM certificates the gateway shows an ``https`` upstream; with ``client_key``."""
    client_key: str | None = Field(default=None, exclude_if=is_absent)
    """Reference to the PEM private key of it, without a passphrase."""
    http2: bool = Field(default=True, exclude_if=bool)
    """Of HTTP: whether an ``https`` upstream is offered HTTP/2."""
    ca: str | None = None
    """Of HTTP: file with the certificates that an ``https`` upstream is verified against; absent: the system's."""
    routes: tuple[str, ...] = ()
    """Of HTTP: templates of paths that rules and labels name: ``/v1/customers/{id}``. A name stands for one
    segment."""
    unread: Literal["pass", "refuse"] | None = None
    """Of HTTP: what becomes of an answer of a type that masking cannot read. Absent: it is refused where the resource
    has labels, else passed."""
    api: ModelApi | None = None
    """Of HTTP: the model API it speaks. Its routes need not be listed, and rules can read which model is asked."""
    mask_requests: bool = False
    """Of HTTP: the bodies of requests are masked before they are sent on, as those of answers are, and for every label:
    it is the upstream that must not see them. A body masking cannot read is refused, unless ``unread`` is ``pass``."""

    hold_wait_s: int | None = Field(default=None, ge=0, le=HOLD_WAIT_LIMIT_S, strict=True)
    """Of HTTP: how long a held request waits in flight before the agent is told to come back (202); 0: not at all.
    Absent: ``HOLD_WAIT_S``."""

    _check_credential = field_validator("credential", "catalog_credential", "client_cert", "client_key")(
        credential_reference
    )

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
            raise ValueError(f"{value!r} is no way to send a credential; write {WAYS}")
        if value is not None and value.lower().removeprefix("header:") in NEVER_INJECTED:
            raise ValueError("no credential can be sent in this field; write bearer, or another header:NAME")
        return value

    @field_validator("routes")
    @classmethod
    def _check_routes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for route in value:
            if ROUTE.fullmatch(route) is None:
                raise ValueError(f"{route!r} is no template; write /v1/customers/{{id}}")
        return value

    @model_validator(mode="after")
    def _check_protocol(self) -> Self:
        parts = urlsplit(self.upstream)
        if self.protocol == "postgres":
            for address in (self.upstream, self.catalog):
                of = urlsplit(address or self.upstream)
                if of.scheme not in ("postgresql", "postgres") or not of.hostname or not of.username:
                    raise ValueError("write postgresql://user@host:port/database")
            only_http = (
                "inject", "ca", "routes", "unread", "api", "mask_requests", "hold_wait_s", "oauth2", "sigv4",
                "client_cert", "client_key", "http2",
            )  # fmt: skip
            for name in only_http:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name!r} is for protocol http")
            return self
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write https://host:port/base")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError(
                "an upstream of HTTP has no user, query or fragment; write https://host:port/base"
            )
        if self.api is not None and self.protocol != "http":
            raise ValueError("'api' is for protocol http")
        if self.catalog is not None or self.catalog_credential is not None:
            raise ValueError("'catalog' is for protocol postgres")
        if (self.credential is None) != (self.inject is None):
            raise ValueError("'credential' and 'inject' go together; write 'inject: bearer'")
        for name in ("oauth2", "sigv4"):
            if (getattr(self, name) is not None) != (self.inject == name):
                raise ValueError(f"'{name}' and 'inject: {name}' go together")
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError(
                "'client_cert' and 'client_key' go together; write both as env:NAME or file:/path"
            )
        if self.client_cert is not None and parts.scheme != "https":
            raise ValueError("'client_cert' is for an https:// upstream")
        return self


class LabelsDocument(Value):
    """Labels on what one resource holds."""

    resource: ResourceName
    columns: dict[str, LabelName] = Field(default_factory=dict)
    """Of PostgreSQL: ``schema.table.column`` to label."""
    fields: dict[str, LabelName] = Field(default_factory=dict)
    """Of HTTP: a route and a pattern (``FieldPlan.pattern``) to label: ``/v1/customers/{id} /email``, or ``* /**/ssn``
    for every route."""
    request_fields: dict[str, LabelName] = Field(default_factory=dict)
    """The same for bodies of requests, where the resource says ``mask_requests``."""

    @field_validator("columns")
    @classmethod
    def _check_columns(cls, value: dict[str, str]) -> dict[str, str]:
        for column in value:
            if column.count(".") < 2:
                raise ValueError(f"{column!r}: write schema.table.column")
        return value

    @field_validator("fields", "request_fields")
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
