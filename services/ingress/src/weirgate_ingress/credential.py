"""Reads the credential of an upstream, for one dial: from the environment or a file, never from an event."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from weirgate_contracts.config import ResourceDocument

CREDENTIAL_LIMIT_BYTES: Final = 64 * 1024


class CredentialError(Exception):
    """It cannot be had; the text names the source, never a value."""


class Credentials:
    """Where credentials come from.

    Args:
        environment: where ``env:`` credentials are read.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment

    def read(self, resource: ResourceDocument) -> str | None:
        """Return the credential of a resource; ``None``: it has none.

        Raises:
            CredentialError: it cannot be read, or is empty.
        """
        return None if resource.credential is None else self.resolve(resource.credential)

    def resolve(self, reference: str) -> str:
        """Return what a reference names.

        Args:
            reference: ``env:NAME`` or ``file:/path``.

        Raises:
            CredentialError: it cannot be read, or is empty.
        """
        scheme, _, rest = reference.partition(":")
        value: str | None = None
        if scheme == "env":
            value = self._environment.get(rest)
        elif scheme == "file":
            try:
                content = Path(rest).read_bytes()
                if len(content) <= CREDENTIAL_LIMIT_BYTES:
                    value = content.decode().removesuffix("\n").removesuffix("\r")
            except (OSError, UnicodeDecodeError) as error:
                raise CredentialError(f"credential file: {type(error).__name__}") from error
        if not value:
            raise CredentialError(f"the {scheme} credential is empty or missing")
        return value
