"""An HTTP call as a case of policies writes it, and the operation it stands for."""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import Field, field_validator

from weirgate_contracts.http import BODY_TEXT_LIMIT_BYTES, HttpBody, HttpCall, HttpHeader, is_json
from weirgate_contracts.model import ModelApi
from weirgate_contracts.modelcall import read_model
from weirgate_contracts.route import match_route
from weirgate_contracts.value import Value
from weirgate_policy.body import FORM


class CaseCall(Value):
    """A call, as short as it can be written."""

    method: str = "GET"
    upgrade: Literal["websocket"] | None = None
    """With ``GET``: a WebSocket is opened; with ``MESSAGE``: the body is one message of the agent over it."""
    path: str
    """In normal form, without the query."""
    query: dict[str, str | tuple[str, ...]] = Field(default_factory=dict[str, str | tuple[str, ...]])
    """Name to value, or to all its values."""
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = None
    """An object or a list is sent as JSON; text as it stands, of the type that ``headers`` name. A type that is
    neither JSON nor a form is not read, as at the gateway."""

    @field_validator("method")
    @classmethod
    def _check_method(cls, value: str) -> str:
        if value != value.upper() or not value:
            raise ValueError("write the method in upper case")
        return value

    @field_validator("path")
    @classmethod
    def _check_path(cls, value: str) -> str:
        if not value.startswith("/") or "?" in value:
            raise ValueError("begins with '/', and its query stands under 'query'")
        if any(unquote(segment) in (".", "..") for segment in value.split("/")):
            raise ValueError("has dot segments, which no judged path has")
        return value

    @field_validator("query", "headers", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """Take ``limit: 10`` for ``limit: "10"``."""
        if not isinstance(value, dict):
            return value
        return {name: _text(one) for name, one in value.items()}  # pyright: ignore[reportUnknownVariableType]

    def call(self, routes: Sequence[str], api: ModelApi | None = None) -> HttpCall:
        """Return it as ingress would make it of a request."""
        found = match_route(routes, self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.body is not None and not isinstance(self.body, str):
            headers.setdefault("content-type", "application/json")
        made = HttpCall(
            method=self.method,
            path=self.path,
            query=tuple(
                (name, value)
                for name, values in self.query.items()
                for value in ((values,) if isinstance(values, str) else values)
            ),
            route=found[0] if found is not None else None,
            arguments=found[1] if found is not None else {},
            headers=tuple(HttpHeader(name=name, value=value) for name, value in sorted(headers.items())),
            body=_body(self.body, headers.get("content-type", "")),
            upgrade=self.upgrade,
        )
        model = read_model(api, made, _raw(self.body)) if made.body is not None and made.body.whole else None
        return made.model_copy(update={"model": model}) if model is not None else made


def _text(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return [_text(one) for one in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]


def _raw(body: Any) -> bytes:
    return (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)).encode()


def _body(body: Any, content_type: str) -> HttpBody | None:
    if body is None:
        return None
    raw = _raw(body)
    type = content_type.partition(";")[0].strip().lower()
    if not (is_json(type) or type == FORM):
        return HttpBody(type=type, whole=False, size_bytes=len(raw))
    return HttpBody(
        type=type,
        whole=True,
        size_bytes=len(raw),
        sha256=sha256(raw).hexdigest(),
        text=raw.decode() if len(raw) <= BODY_TEXT_LIMIT_BYTES else None,
    )
