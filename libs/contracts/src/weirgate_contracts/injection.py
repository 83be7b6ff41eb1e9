"""How the gateway shows itself to an HTTP upstream: what a resource document says of it. Secrets stand as references.

=====================  ===================================================================  ===========
``inject``             what is sent                                                         source
=====================  ===================================================================  ===========
``bearer``, ``basic``  ``Authorization`` with the credential                                RFC 6750, RFC 7617
``header:NAME``        the credential as that field
``query:NAME``         the credential as that parameter, behind the agent's own
``oauth2``             ``Authorization: Bearer`` with a token got for the client secret     RFC 6749 section 4.4
``sigv4``              a signature over each request                                        AWS Signature Version 4
=====================  ===================================================================  ===========

``client_cert`` with ``client_key`` goes with each of them, or with none: it is shown in the TLS handshake.
"""

import re
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from weirgate_contracts.value import Value

CREDENTIAL_SCHEMES = ("env", "file")
"""Where a credential can be read from. A value written out is refused."""
WAYS: Final = "bearer, basic, header:NAME, query:NAME, oauth2 or sigv4"
_FIELD_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
INJECT = re.compile(rf"bearer|basic|oauth2|sigv4|header:{_FIELD_NAME}|query:[A-Za-z0-9._~-]+")
NEVER_INJECTED: Final = frozenset(
    (
        "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
        "keep-alive", "proxy-connection", "range", "te", "trailer", "transfer-encoding", "upgrade",
    )
)  # fmt: skip
"""Fields that frame, route or describe a message: a credential in their place would change what is sent."""
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_TEXT = r"^[\x21-\x7e]{1,512}$"
_ID = re.compile(r"(?:env|file):.+|[A-Za-z0-9_]{4,128}")


def credential_reference(value: str | None) -> str | None:
    """Check that a credential is named, not written out.

    Raises:
        ValueError: it is no reference.
    """
    if value is None:
        return None
    scheme, colon, rest = value.partition(":")
    if not colon or scheme not in CREDENTIAL_SCHEMES or not rest:
        raise ValueError("a credential is a reference, env:NAME or file:/path, never the value itself")
    return value


def token_url_fault(value: str) -> str | None:
    """Say what is wrong with the address of a token endpoint, or ``None``. The client secret goes there, so it is
    ``https`` but on this machine (RFC 6749 section 3.2)."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "the address cannot be read"
    if parts.scheme not in ("http", "https") or not host:
        return "this is no address of a token endpoint"
    if parts.scheme == "http" and host not in _LOOPBACK:
        return "the client secret goes there, so it is https but on this machine"
    if parts.username is not None or parts.fragment:
        return "a token endpoint has no user and no fragment in its address"
    if re.fullmatch(r"[\x21-\x7e]+", value) is None:
        return "the address holds what must be percent-encoded"
    return None


class OAuth2Document(Value):
    """Of ``inject: oauth2``: where a token is got. ``credential`` is the client secret."""

    token_url: str = Field(max_length=2048)
    """``https://host/path``; ``http`` on this machine only."""
    client_id: str = Field(min_length=1, max_length=512)
    scope: str | None = Field(default=None, pattern=r"^[\x21-\x7e]+( [\x21-\x7e]+)*$", max_length=2048)
    """Scopes with one space between; absent: what the server gives by itself."""
    audience: str | None = Field(default=None, min_length=1, max_length=2048)
    """Sent as ``audience``, for servers that issue tokens for several APIs."""
    auth: Literal["basic", "post"] = "basic"
    """Whether the client shows itself in ``Authorization`` or in the form (RFC 6749 section 2.3.1)."""

    @field_validator("token_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        if (fault := token_url_fault(value)) is not None:
            raise ValueError(f"{fault}; write token_url: https://host/path")
        return value


class SigV4Document(Value):
    """Of ``inject: sigv4``: what a signature is made for. ``credential`` is the secret access key."""

    region: str = Field(pattern=r"^[a-z0-9-]{1,64}$")
    """Such as ``eu-central-1``."""
    service: str = Field(pattern=r"^[a-z0-9.-]{1,64}$")
    """Name the service signs under, such as ``s3`` or ``execute-api``."""
    access_key_id: str = Field(max_length=512)
    """No secret; written out, or a reference where it changes together with the secret."""
    session_token: str | None = None
    """Reference to the token of temporary credentials."""

    @field_validator("access_key_id")
    @classmethod
    def _check_id(cls, value: str) -> str:
        if _ID.fullmatch(value) is None:
            raise ValueError("this is no id of an access key; write AKIA…, or env:NAME, or file:/path")
        return value

    _check_token = field_validator("session_token")(credential_reference)
