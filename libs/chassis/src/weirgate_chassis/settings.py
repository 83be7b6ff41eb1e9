"""Settings: read once, in ``__main__``, from the environment, into a frozen class.

pydantic-settings ignores a variable it does not know, so a misspelt limit would silently be the default. Here
an unknown ``WEIRGATE_`` variable stops the start and the nearest known name is given.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "WEIRGATE_"
FOR_THE_COMMAND = frozenset({"WEIRGATE_DATA_DIR", "WEIRGATE_PORT_BASE", "WEIRGATE_URL", "WEIRGATE_TOKEN"})
"""Variables of the ``weirgate`` command: a person's shell may hold them when a service is started from it."""


class SettingsError(ValueError):
    """The environment does not describe a service that may start. One line a problem, values not shown."""


def split_address(value: str) -> tuple[str, int]:
    """Split ``host:port`` (an IPv6 host in brackets).

    Raises:
        ValueError: it is something else.
    """
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ValueError("write host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _address(value: str) -> str:
    split_address(value)
    return value


def _address_or_off(value: str) -> str:
    return _address(value) if value else value


def _off(value: str) -> str:
    if value:
        raise ValueError("this release exports no traces; leave it empty")
    return value


Address = Annotated[str, AfterValidator(_address)]
"""``host:port``."""
OptionalAddress = Annotated[str, AfterValidator(_address_or_off)]
"""``host:port``, or empty: off."""


class ServiceSettings(BaseSettings):
    """What every service is told. A service adds its own fields in a subclass.

    Read with :meth:`from_environment`, never by calling the class.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", case_sensitive=False, hide_input_in_errors=True
    )

    nats_url: str = "nats://127.0.0.1:4222"
    """Addresses of the NATS servers, separated by commas."""
    nats_nkey_file: Path
    """File with this service's NKey seed."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    health_listen: OptionalAddress = ""
    """Address of /healthz, /readyz and /metrics; empty: off."""
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,63}$")] = "one"
    """Name of this instance, one token of a subject."""
    otlp_url: Annotated[str, AfterValidator(_off)] = ""
    """Where traces go; this release exports none, so anything but empty is refused, not ignored."""
    stop_deadline_s: float = Field(default=10.0, gt=0)
    """Longest a graceful stop may take."""
    start_deadline_s: float = Field(default=30.0, gt=0)
    """Longest a start may take, waiting for NATS included."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings.

        Raises:
            SettingsError: a variable is unknown, missing, or holds something else than it may.
        """
        given = os.environ if environment is None else environment
        known = {PREFIX + name.upper(): name for name in cls.model_fields}
        problems: list[str] = []
        values: dict[str, str] = {}
        for variable, value in sorted(given.items()):
            if not variable.upper().startswith(PREFIX) or variable in FOR_THE_COMMAND:
                continue
            if variable in known:
                values[known[variable]] = value
                continue
            near = difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0.6)
            problems.append(f"{variable}: unknown" + (f"; did you mean {near[0]}?" if near else ""))
        if not problems:
            try:
                return cls.model_validate(values)
            except ValidationError as error:
                for each in error.errors(include_url=False, include_input=False):
                    name = PREFIX + "_".join(str(part) for part in each["loc"][:1]).upper()
                    problems.append(f"{name}: {each['msg']}")
        raise SettingsError("\n".join(problems))
