"""The documents `weirgate apply` publishes, as they stand in ``ConfigPublished.body``."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

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


class ResourceDocument(Value):
    """One registered upstream."""

    name: ResourceName
    protocol: Literal["postgres"]
    upstream: str
    """``postgresql://user@host:port/database?sslmode=…`` without a password; sslmode as in libpq, and
    ``sslrootcert``, ``channel_binding``."""
    credential: str | None = None
    """Reference to the upstream password; absent where the upstream asks for none."""
    catalog: str | None = None
    """The same for policy's own least-privileged login; absent: ``upstream`` with ``credential``."""
    catalog_credential: str | None = None

    _check_credential = field_validator("credential", "catalog_credential")(_credential_reference)

    @field_validator("upstream", "catalog")
    @classmethod
    def _check_upstream(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or not parts.username:
            raise ValueError("write postgresql://user@host:port/database")
        if parts.password is not None:
            raise ValueError("no password in the address; name it by 'credential: env:NAME'")
        return value


class LabelsDocument(Value):
    """Labels on columns of one resource."""

    resource: ResourceName
    columns: dict[str, LabelName]
    """``schema.table.column`` to label."""

    @field_validator("columns")
    @classmethod
    def _check_columns(cls, value: dict[str, str]) -> dict[str, str]:
        for column in value:
            if column.count(".") < 2:
                raise ValueError(f"{column!r}: write schema.table.column")
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
