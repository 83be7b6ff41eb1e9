"""A message of MCP as a case of policies writes it, and the operation it stands for."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Self

from pydantic import Field, model_validator

from weirgate_contracts.http import BODY_TEXT_LIMIT_BYTES, HttpBody, HttpCall
from weirgate_contracts.mcp import ItemKind, McpCall, McpItem, message_text
from weirgate_contracts.value import Value

_SOME = "0" * 64
"""Digest of a definition that nobody approved."""


class CaseMessage(Value):
    """A message, as short as it can be written: ``call``, ``read``, ``prompt``, ``offers`` or ``method``."""

    call: str | None = None
    """A tool that is called."""
    read: str | None = None
    """URI of a resource that is read."""
    prompt: str | None = None
    """A prompt that is got."""
    offers: tuple[str, ...] | None = None
    """Tools the server lists, by name: the question is which of them are shown. One that is approved is offered as it
    was approved."""
    method: str | None = None
    """Any other message: ``tools/list``, ``initialize``, ``ping`` …"""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Of the tool or the prompt."""
    definition: str | None = None
    """Digest under which the tool was last offered; absent: it was not."""

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        kinds = ("call", "read", "prompt", "offers", "method")
        if sum(getattr(self, kind) is not None for kind in kinds) != 1:
            raise ValueError(f"write one of {', '.join(kinds)}")
        if self.arguments and self.call is None and self.prompt is None:
            raise ValueError("'arguments' are those of a tool or a prompt")
        return self

    def text(self) -> str:
        """Return it on one line, as people read it."""
        method, _, name = self._parts()
        return message_text(method, name)

    def message(self, approved: Mapping[str, str] | None) -> HttpCall:
        """Return it as ingress would make it.

        Args:
            approved: Name to digest of the tools people approved.
        """
        method, kind, name = self._parts()
        offered = None
        if self.offers is not None:
            known = approved or {}
            offered = tuple(
                McpItem(kind="tool", name=one, sha256=known.get(one, _SOME)) for one in self.offers
            )
        params: dict[str, Any] = {"uri" if kind == "resource" else "name": name} if name is not None else {}
        if self.arguments:
            params["arguments"] = self.arguments
        mcp = McpCall(method=method, kind=kind, name=name, definition=self.definition, offered=offered)
        return HttpCall(method="POST", path="/", body=_body(method, params), mcp=mcp)

    def _parts(self) -> tuple[str, ItemKind | None, str | None]:
        if self.call is not None:
            return "tools/call", "tool", self.call
        if self.read is not None:
            return "resources/read", "resource", self.read
        if self.prompt is not None:
            return "prompts/get", "prompt", self.prompt
        return self.method or ("tools/list" if self.offers is not None else ""), None, None


def _body(method: str, params: Mapping[str, Any]) -> HttpBody:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    text = json.dumps(message, ensure_ascii=False)
    raw = text.encode()
    return HttpBody(
        type="application/json",
        whole=True,
        size_bytes=len(raw),
        sha256=sha256(raw).hexdigest(),
        text=text if len(raw) <= BODY_TEXT_LIMIT_BYTES else None,
    )
