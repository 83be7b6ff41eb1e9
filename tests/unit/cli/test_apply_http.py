"""`weirgate apply` on documents of HTTP resources."""

from pathlib import Path

from weirgate_cli.apply import Documents, Problems, load

GOOD = """\
kind: resource
name: crm
protocol: http
upstream: https://crm.internal/api
credential: env:CRM_TOKEN
inject: bearer
routes:
  - /v1/customers
  - /v1/customers/{id}
---
kind: labels
resource: crm
fields:
  /v1/customers/{id} /email: pii.email
  "* /**/ssn": pii.ssn
"""


def test_an_http_resource_and_its_fields_are_read_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "crm.yaml").write_text(GOOD)
    loaded = load(tmp_path)
    assert isinstance(loaded, Documents), loaded
    resource, labels = loaded.documents
    assert resource.lines["routes/1"] == 9
    assert labels.body["fields"] == {"/v1/customers/{id} /email": "pii.email", "* /**/ssn": "pii.ssn"}
    assert labels.lines["fields/* /**/ssn"] == 15


def test_every_problem_is_said_with_its_line_and_what_would_be_right(tmp_path: Path) -> None:
    text = GOOD.replace("inject: bearer\n", "").replace("/v1/customers\n", "v1/customers\n")
    text = text.replace("/v1/customers/{id} /email", "/v1/customers/{id}/email")
    (tmp_path / "crm.yaml").write_text(text)
    loaded = load(tmp_path)
    assert isinstance(loaded, Problems)
    said = [str(problem).removeprefix(f"{tmp_path}/") for problem in loaded.problems]
    assert said == [
        "crm.yaml:5: 'credential' stands without 'inject', so it would never be sent "
        "(write 'inject: bearer', or basic, header:NAME, query:NAME)",
        "crm.yaml:7: 'v1/customers' is no template: it begins with '/' "
        "(write a template such as /v1/customers/{id}; a name in braces stands for one whole segment)",
        "crm.yaml:13: '/v1/customers/{id}/email' is no field: a route and a pointer stand there, with one "
        "space between (write a route (of MCP a tool) and a pointer, such as '/v1/customers/{id} /email' or "
        "'lookup_customer /email', or '* /**/ssn' for every one)",
    ]
