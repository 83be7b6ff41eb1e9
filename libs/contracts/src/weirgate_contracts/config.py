"""The documents `weirgate apply` publishes, as they stand in ``ConfigPublished.body``."""

import re
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from weirgate_contracts.authority import split_authority
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
HOSTS_LIMIT = 64
"""Most authorities of one resource."""
TOOL = re.compile(r"[A-Za-z0-9_.-]{1,128}")
"""Names of tools as the protocol asks for them (Model Context Protocol, revision 2025-11-25, "Tool Names"). A tool
with another name can be called and permitted; labels reach it by ``*``."""
FIELD = re.compile(rf"(?:\*|/\S*|{TOOL.pattern}) (?:/[^/\s]+)+")
DIGEST = re.compile(r"[0-9a-f]{64}")


HOLD_WAIT_S = 30
"""How long a held request waits in flight unless its resource says otherwise. Whoever stands between an agent and the
gateway gives up on a silent answer after 60 s (nginx ``proxy_read_timeout``, load balancers of AWS) or 30 s (Heroku's
router); clients that give up sooner (httpx: 5 s) can ask for less by ``Prefer: respond-async``."""
HOLD_WAIT_LIMIT_S = 3600


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
    path that is sent. Of MCP the same: the endpoint of its Streamable HTTP, ``https://host/mcp``."""
    credential: str | None = None
    """Reference to the upstream password; absent where the upstream asks for none."""
    catalog: str | None = None
    """The same for policy's own least-privileged login; absent: ``upstream`` with ``credential``."""
    catalog_credential: str | None = None
    inject: str | None = None
    """Of HTTP and MCP: how the credential is sent: ``bearer``, ``basic`` (it is ``user:password``), ``header:NAME``,
    ``query:NAME``, ``oauth2``, ``sigv4``. Absent: none is sent."""
    oauth2: OAuth2Document | None = Field(default=None, exclude_if=is_absent)
    """Of HTTP and MCP with ``inject: oauth2``."""
    sigv4: SigV4Document | None = Field(default=None, exclude_if=is_absent)
    """Of HTTP and MCP with ``inject: sigv4``."""
    client_cert: str | None = Field(default=None, exclude_if=is_absent)
    """Of HTTP and MCP: reference to the PEM certificates shown to an ``https`` upstream; with ``client_key``."""
    client_key: str | None = Field(default=None, exclude_if=is_absent)
    """Reference to the PEM private key of it, without a passphrase."""
    http2: bool = Field(default=True, exclude_if=bool)
    """Of HTTP and MCP: whether an ``https`` upstream is offered HTTP/2."""
    ca: str | None = None
    """Of HTTP and MCP: file with the certificates that an ``https`` upstream is verified against; absent: the
    system's."""
    routes: tuple[str, ...] = ()
    """Of HTTP: templates of paths that rules and labels name: ``/v1/customers/{id}``. A name stands for one
    segment."""
    unread: Literal["pass", "refuse"] | None = None
    """Of HTTP: what becomes of an answer of a type that masking cannot read. Absent: it is refused where the resource
    has labels, else passed. Of MCP the same, and of images, sound and other base64 within an answer: ``refuse`` puts a
    placeholder in their place."""
    api: ModelApi | None = None
    """Of HTTP: the model API it speaks. Its routes need not be listed, and rules can read which model is asked."""
    mask_requests: bool = False
    """Of HTTP: the bodies of requests are masked before they are sent on, as those of answers are, and for every label:
    it is the upstream that must not see them. A body masking cannot read is refused, unless ``unread`` is ``pass``."""

    hold_wait_s: int | None = Field(default=None, ge=0, le=HOLD_WAIT_LIMIT_S, strict=True)
    """Of HTTP: how long a held request waits in flight before the agent is told to come back (202); 0: not at all.
    Absent: ``HOLD_WAIT_S``."""
    hosts: tuple[str, ...] = Field(default=(), max_length=HOSTS_LIMIT, exclude_if=_is_empty)
    """Of HTTP and MCP: authorities under which agents reach it beside ``/<name>/…``: ``api.internal`` (any port of
    the gateway; 80 and 443 through the proxy) or ``api.internal:8443``. Lower case; each of one resource only."""

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
            only_http = (
                "inject", "ca", "routes", "unread", "api", "mask_requests", "hold_wait_s", "oauth2", "sigv4",
                "client_cert", "client_key", "http2", "hosts",
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
        if self.protocol == "mcp":
            for name in ("routes", "api", "mask_requests", "hold_wait_s"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name!r} is for protocol http")
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
    for every route. Of MCP: the name of a tool and a pattern over what it answers: ``lookup_customer /email``, or
    ``* /**/email`` for everything the server answers."""
    request_fields: dict[str, LabelName] = Field(default_factory=dict)
    """Of HTTP: the same for bodies of requests, where the resource says ``mask_requests``."""

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
                    f"{field!r}: write a route or a tool and a pointer, for instance '/v1/customers/{{id}} /email'"
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


class ToolsDocument(Value):
    """The definitions of tools that people have approved, of one resource of MCP.

    With one, a tool that is not in it, or that the server defines otherwise now, is not shown to agents, and a call
    of it waits for the reviewers.
    """

    resource: ResourceName
    tools: dict[str, str]
    """Name to the digest of its definition (:func:`weirgate_contracts.definition.definition_digest`)."""
    reviewers: tuple[ResourceName, ...] = ("tools",)
    """Who must each agree to a call of another tool: names of :class:`ReviewersDocument`."""

    @field_validator("tools")
    @classmethod
    def _check_tools(cls, value: dict[str, str]) -> dict[str, str]:
        for name, digest in value.items():
            if not 0 < len(name) <= 2048:
                raise ValueError("the name of a tool has 1 to 2048 characters")
            if DIGEST.fullmatch(digest) is None:
                raise ValueError(
                    f"{name!r} has no digest; write the 64 digits that 'weirgate tools pin' prints"
                )
        return value

    @field_validator("reviewers")
    @classmethod
    def _check_reviewers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("nobody is asked; write 'reviewers: [dba]'")
        return value
