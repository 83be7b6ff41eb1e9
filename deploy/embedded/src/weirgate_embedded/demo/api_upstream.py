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
HELPDESK = ApiUpstream(
    name="helpdesk",
    module="weirgate_embedded.demo.helpdesk",
    protocol="mcp",
    path="/mcp",
    document="""\
---
kind: labels
resource: helpdesk
fields:
  "* /**/email": pii.email
  "* /**/phone": pii.phone
  "* /**/card": payment.card
---
kind: reviewers
name: dba
groups: [dba]
---
# Who is asked when an approved tool has changed.
kind: reviewers
name: tools
groups: [dba]
---
kind: policy
name: demo-helpdesk
cedar: |
  // Everybody looks customers up.
  @id("look-up")
  permit (
      principal,
      action == Action::"mcp.call",
      resource
  )
  when { resource in [Tool::"helpdesk/lookup_customer", Tool::"helpdesk/list_cities"] };

  // Analysts write notes, and use what asks back. They pay back up to 100 as they like, up to 1000 with a word of
  // the people in dba.
  @id("analysts")
  permit (
      principal in Group::"analysts",
      action == Action::"mcp.call",
      resource
  )
  when { resource in [Tool::"helpdesk/note", Tool::"helpdesk/summarise", Tool::"helpdesk/close_account"] };
  @id("refund")
  permit (
      principal in Group::"analysts",
      action == Action::"mcp.call",
      resource == Tool::"helpdesk/refund"
  )
  when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") <= 100 };
  @id("refund-more")
  @hold("dba")
  @reason("pays back more than 100")
  permit (
      principal in Group::"analysts",
      action == Action::"mcp.call",
      resource == Tool::"helpdesk/refund"
  )
  when {
      context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") > 100 &&
      context.numbers.getTag("/amount") <= 1000
  };

  // A server may ask back only those whose person is there.
  @id("ask-the-person")
  permit (
      principal in Group::"attended",
      action == Action::"mcp.elicitation",
      resource == Resource::"helpdesk"
  );
""",
)
APIS = (CRM, MODELS, HELPDESK)
