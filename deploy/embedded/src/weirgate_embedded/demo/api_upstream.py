"""The demo's HTTP upstreams: each a child process, a resource document and a line in ``endpoints.json``."""

import socket
import sys
from dataclasses import dataclass
from typing import Any, Literal

from weirgate_embedded.demo.crm import ROUTES as CRM_ROUTES
from weirgate_embedded.demo.model import ROUTES as MODEL_ROUTES
from weirgate_embedded.layout import Layout
from weirgate_embedded.supervisor import Child, clean_environment


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiUpstream:
    """One of them. Its name is also that of its port, its secret and its resource."""

    name: str
    module: str
    protocol: Literal["http", "mcp"] = "http"
    path: str = ""
    document: str = ""
    """Lines of its documents after name, protocol, upstream and credential."""

    def child(self, layout: Layout) -> Child:
        """Return it as a child to be supervised."""
        layout.secret(f"{self.name}.token")
        return Child(
            name=self.name,
            argv=[
                sys.executable, "-m", self.module, "--port", str(layout.port(self.name)),
                "--token-file", str(layout.secrets / f"{self.name}.token"), "--log", self._log(layout),
            ],
            environment=clean_environment(),
            log_file=layout.logs / f"{self.name}.log",
        )  # fmt: skip

    def documents(self, layout: Layout) -> str:
        """Return what registers it."""
        return (
            "kind: resource\n"
            f"name: {self.name}\n"
            f"protocol: {self.protocol}\n"
            f"upstream: {self._url(layout)}\n"
            "inject: bearer\n"
            f"credential: file:{layout.secrets / f'{self.name}.token'}\n"
            f"{self.document}"
        )

    def endpoint(self, layout: Layout) -> dict[str, Any]:
        """Return what ``endpoints.json`` says of it."""
        return {
            "url": self._url(layout),
            "token_file": str(layout.secrets / f"{self.name}.token"),
            "log": self._log(layout),
        }

    def is_listening(self, layout: Layout) -> bool:
        """Say whether it can be connected to."""
        try:
            with socket.create_connection(("127.0.0.1", layout.port(self.name)), timeout=1):
                return True
        except OSError:
            return False

    def _url(self, layout: Layout) -> str:
        return f"http://127.0.0.1:{layout.port(self.name)}{self.path}"

    def _log(self, layout: Layout) -> str:
        return str(layout.logs / f"{self.name}-access.log")


def _routes(routes: tuple[str, ...]) -> str:
    return "routes:\n" + "".join(f"  - {route}\n" for route in routes)


CRM = ApiUpstream(
    name="crm",
    module="weirgate_embedded.demo.crm",
    document="hosts: [crm.internal]\n"
    + _routes(CRM_ROUTES)
    + (
        "---\n"
        "kind: labels\n"
        "resource: crm\n"
        "fields:\n"
        '  "* /**/email": pii.email\n'
        '  "* /**/phone": pii.phone\n'
        '  "* /**/card": payment.card\n'
    ),
)
MODELS = ApiUpstream(
    name="models",
    module="weirgate_embedded.demo.model",
    document="api: openai\nmask_requests: true\n"
    + _routes(MODEL_ROUTES)
    + """\
---
kind: policy
name: demo-models
cedar: |
  // A call of a model is a POST, and changes nothing.
  @id("complete")
  permit (
      principal,
      action == Action::"http.post",
      resource in Resource::"models"
  )
  when { principal in Group::"analysts" || principal in Group::"writers" };
""",
)
APIS = (CRM, MODELS)
