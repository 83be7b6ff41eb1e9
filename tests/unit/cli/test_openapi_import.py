"""`weirgate resources import-openapi`: the routes of a resource, as its API document has them."""

import json
import os
import stat
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from weirgate_cli.apply import Documents, load
from weirgate_cli.main import make_app
from weirgate_cli.openapi.template import NoTemplate, make_template
from weirgate_cli.openapi.tree import Unreadable, read_tree

PETS = """\
openapi: 3.0.3
info: {title: Pet Shop, version: 1.4.0}
servers:
  - url: https://pets.example.com/{stage}/v1
    variables: {stage: {default: api}}
paths:
  /pets:
    get: {operationId: listPets, summary: List all pets, responses: {"200": {$ref: "#/components/responses/Pets"}}}
    post: {operationId: addPet, responses: {"201": {description: made}}}
  /pets/{pet-id}:
    $ref: "#/components/x-items/pet"
  /pets/{petId}/photos/{n}:
    get: {summary: "One photo\\nkind: policy", responses: {}}
  /pets/{id}.json:
    get: {operationId: petFile, responses: {}}
  /files/{path+}:
    get: {responses: {}}
  /search?q={q}:
    get: {responses: {}}
  /elsewhere:
    $ref: "other.yaml#/paths/~1x"
  /billing:
    servers: [{url: https://billing.example.com}]
    get: {responses: {}}
  x-note: none
components:
  x-items:
    pet:
      get:
        operationId: getPet
        responses:
          default: {content: {application/json: {schema: {$ref: "#/components/schemas/Pet"}}}}
  responses:
    Pets: {content: {application/json: {schema: {type: array, items: {$ref: "#/components/schemas/Pet"}}}}}
  schemas:
    Pet:
      type: object
      properties:
        id: {type: integer}
        ownerEmail: {type: string}
        contact: {type: string, format: email}
        shipping: {type: string}
        owner:
          allOf:
            - {properties: {phone_number: {type: string}, card: {type: object, properties: {pan: {type: string}}}}}
        parent: {$ref: "#/components/schemas/Pet"}
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(make_app(), ["resources", "import-openapi", *map(str, arguments)])


def written(directory: Path, text: str, name: str = "api.yaml") -> Path:
    file = directory / name
    file.write_text(text)
    return file


def applied(directory: Path, text: str) -> dict[str, object]:
    (directory / "out").mkdir(exist_ok=True)
    loaded = load(written(directory / "out", text, "resource.yaml"))
    assert isinstance(loaded, Documents), loaded
    (document,) = loaded.documents
    return document.body


def test_a_document_becomes_a_resource_that_can_be_applied(tmp_path: Path) -> None:
    done = run(written(tmp_path, PETS), "--resource", "pets")
    assert done.exit_code == 0, done.output
    body = applied(tmp_path, done.stdout)
    assert (body["name"], body["upstream"]) == ("pets", "https://pets.example.com/api/v1")
    assert body["routes"] == ["/pets", "/pets/{pet_id}", "/pets/{petId}/photos/{n}"]
    for said in ("# GET listPets: List all pets\n", "# POST addPet\n", "# GET getPet\n"):
        assert f"  {said}" in done.stdout
    assert "\nkind: policy" not in done.stdout


def test_what_cannot_be_a_route_is_told_with_the_next_step(tmp_path: Path) -> None:
    done = run(written(tmp_path, PETS), "--resource", "pets")
    told = done.stderr.splitlines()
    assert told == [
        "api.yaml: /pets/{id}.json: left out: {id}.json is only a part of its segment, or more than one name; "
        "if rules are to see it, write /pets/{id}: the name is then the whole segment",
        "api.yaml: /files/{path+}: left out: {path+} stands for any number of segments, and a name in a route "
        "stands for one; write a route for each depth that is used, the first is /files/{path}",
        "api.yaml: /search?q={q}: left out: it holds a query, and routes are matched by the path alone; "
        "one route serves them all, /search",
        "api.yaml: /elsewhere: left out: refers to another file ('other.yaml#/paths/~1x'); "
        "bundle the document into one file first",
        "api.yaml: /billing: left out: it is served by https://billing.example.com; "
        "register that server as a resource of its own",
        "api.yaml: 3 routes, 5 paths left out",
    ]


def test_fields_that_look_personal_are_proposed_as_comments(tmp_path: Path) -> None:
    done = run(written(tmp_path, PETS), "--resource", "pets")
    proposed = done.stdout.partition("# ---\n")[2]
    text = "".join(line.removeprefix("# ") + "\n" for line in proposed.splitlines())
    fields = yaml.safe_load(text)["fields"]
    assert fields["/pets /*/ownerEmail"] == "pii.email"
    assert fields["/pets/{pet_id} /contact"] == "pii.email"
    assert fields["/pets/{pet_id} /owner/phone_number"] == "pii.phone"
    assert fields["/pets/{pet_id} /owner/card/pan"] == "payment.card"
    assert fields["/pets/{pet_id} /parent/ownerEmail"] == "pii.email"
    assert not [field for field in fields if field.endswith(("/shipping", "/id", "/card"))]
    # Uncommented it can be applied as it is.
    (tmp_path / "labels").mkdir()
    assert isinstance(load(written(tmp_path / "labels", text)), Documents)


def test_swagger_two_in_json_is_read(tmp_path: Path) -> None:
    document = {
        "swagger": "2.0", "info": {"title": "Old", "version": 3}, "host": "Old.example.com", "basePath": "/rest/",
        "schemes": ["http", "https"],
        "paths": {
            "/people/{person id}": {"get": {"responses": {"200": {"schema": {"$ref": "#/definitions/P"}}}}},
            "/a b/%7euser": {"get": {}},
        },
        "definitions": {"P": {"properties": {"ssn": {"type": "string"}, "isEmail": {"type": "boolean"}}}},
    }  # fmt: skip
    done = run(written(tmp_path, json.dumps(document), "old.json"), "--resource", "old")
    assert done.exit_code == 0, done.output
    body = applied(tmp_path, done.stdout)
    assert body["upstream"] == "https://old.example.com/rest"
    assert body["routes"] == ["/people/{person_id}", "/a%20b/~user"]
    assert '"/people/{person_id} /ssn": pii.ssn' in done.stdout
    assert "isEmail" not in done.stdout


@pytest.mark.parametrize(
    ("options", "routes"),
    [
        (["--upstream", "https://pets.internal:8443/api"], ["/v1/pets"]),
        (["--upstream", "https://pets.internal/api/v1/"], ["/pets"]),
        (["--upstream", "https://pets.internal"], ["/api/v1/pets"]),
        (["--upstream", "https://pets.internal/other", "--base", "/"], ["/pets"]),
        (["--upstream", "https://pets.internal/other", "--base", "/x/y"], ["/x/y/pets"]),
    ],
)
def test_paths_are_below_what_the_upstream_has_already(
    tmp_path: Path, options: list[str], routes: list[str]
) -> None:
    text = "openapi: 3.1.0\ninfo: {}\nservers: [{url: 'https://a.example.com/api/v1'}]\npaths: {/pets: {get: {}}}\n"
    done = run(written(tmp_path, text), "--resource", "pets", *options)
    assert done.exit_code == 0, done.output
    assert applied(tmp_path, done.stdout)["routes"] == routes


def test_where_it_cannot_be_said_what_stands_before_the_paths_it_is_asked(tmp_path: Path) -> None:
    text = "openapi: 3.1.0\ninfo: {}\nservers: [{url: /v2}]\npaths: {/pets: {get: {}}}\n"
    file = written(tmp_path, text)
    done = run(file, "--resource", "pets")
    assert done.exit_code == 1
    assert "--upstream https://host:port/base" in done.stderr
    done = run(file, "--resource", "pets", "--upstream", "https://pets.internal/api")
    assert done.exit_code == 1
    assert "--base / where /api is the document's /v2, else --base /v2" in done.stderr
    assert done.stdout == ""


STANDS = """\
# Everything about the pets.
kind: resource
name: other
protocol: http
upstream: https://other.internal
routes: [/pets]
---
kind: resource   # ours
name: pets
protocol: http
upstream: https://pets.internal/api  # behind the firewall

routes:
  # written by hand
  - /v1/pets  # everybody's
  - /v1/legacy/{id}

# How it is asked:
inject: bearer
credential: env:PETS
---
kind: labels
resource: pets
fields: {"* /**/email": pii.email}   # all of them
"""


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_routes_are_put_into_a_file_and_nothing_else_is_changed(
    tmp_path: Path, newline: str, mark: bytes
) -> None:
    into = tmp_path / "gateway.yaml"
    into.write_bytes(mark + STANDS.replace("\n", newline).encode())
    into.chmod(0o640)
    file = written(tmp_path, PETS)
    for _ in range(2):  # the second time changes nothing
        done = run(file, "--resource", "pets", "--into", into)
        assert done.exit_code == 0, done.output
        assert "/v1/legacy/{id}, which api.yaml does not name (--prune drops it)" in done.stderr
        raw = into.read_bytes()
        assert raw.startswith(mark)
        text = raw.removeprefix(mark).decode()
        assert text.count("\n") == text.count(newline)
        text = text.replace("\r\n", "\n")
        before, _, after = STANDS.partition("routes:\n")
        assert text.startswith(before)
        assert text.endswith(after.partition("{id}")[2])
        routes = list(yaml.safe_load_all(text))[1]["routes"]
        assert routes == ["/v1/pets", "/v1/pets/{pet_id}", "/v1/pets/{petId}/photos/{n}", "/v1/legacy/{id}"]
    assert stat.S_IMODE(into.stat().st_mode) == 0o640
    done = run(file, "--resource", "pets", "--into", into, "--prune")
    assert done.exit_code == 0, done.output
    assert b"legacy" not in into.read_bytes()
    assert isinstance(load(into), Documents)
    assert sorted(os.listdir(tmp_path)) == ["api.yaml", "gateway.yaml"]


@pytest.mark.parametrize(
    "given",
    [
        "",
        "routes:\n",
        "routes: []\n",
        "routes: [/x, '/v1/pets/{pet_id}'] # few\n",
        "routes:\n- /x\n",
        "routes: ~\n",
    ],
)
def test_however_the_list_stood_it_is_found(tmp_path: Path, given: str) -> None:
    head = "kind: resource\nname: pets\nprotocol: http\nupstream: https://p.internal/api\n"
    into = written(tmp_path, head + given, "gateway.yaml")
    done = run(written(tmp_path, PETS), "--resource", "pets", "--into", into)
    assert done.exit_code == 0, done.output
    (document,) = load(into).documents  # type: ignore[union-attr]
    routes = ["/v1/pets", "/v1/pets/{pet_id}", "/v1/pets/{petId}/photos/{n}"]
    assert document.body["routes"] == [*routes, *(["/x"] if "/x" in given else [])]
    assert ("# few" in into.read_text()) == ("# few" in given)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: resource\nname: shop\n", "holds no document 'kind: resource, name: pets'"),
        ("{kind: resource, name: pets, upstream: 'https://p.internal/api'}\n", "stands in braces"),
        (
            "kind: resource\nname: pets\nprotocol: postgres\nupstream: postgresql://a@b/c\n",
            "of protocol postgres",
        ),
        ("kind: resource\nname: pets\nname: pets\n", "stands twice"),
        (
            "kind: resource\nname: pets\nprotocol: http\nupstream: https://p/api\nunknown: 1\n",
            "unknown field",
        ),
    ],
)
def test_a_file_that_cannot_take_them_stands_as_it_was(tmp_path: Path, text: str, told: str) -> None:
    into = written(tmp_path, text, "gateway.yaml")
    done = run(written(tmp_path, PETS), "--resource", "pets", "--into", into)
    assert done.exit_code == 1
    assert told in done.stderr
    assert into.read_text() == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no mapping"),
        ("[]", "holds no mapping"),
        ("a: b: c", "this is not YAML"),
        ('{"openapi": "3.0.0",', "this is not JSON"),
        ("openapi: 4.0.0\n", "it is version 4.0.0"),
        ("title: x\n", "neither 'openapi' nor 'swagger'"),
        ("openapi: 3.1.0\nwebhooks: {}\n", "it has no 'paths'"),
        ("[" * 5000, "nested too deeply"),
        ('{"a":' * 200_000, "nested too deeply"),
        ("a: &a [*a]", "holds itself"),
        ("\x00", "this is not YAML"),
    ],
)
def test_what_is_no_api_document_is_refused_with_a_reason(tmp_path: Path, text: str, told: str) -> None:
    done = run(written(tmp_path, text), "--resource", "pets")
    assert done.exit_code == 1
    assert told in done.stderr
    assert done.stdout == ""


def test_what_unfolds_without_end_is_read_in_no_time(tmp_path: Path) -> None:
    bomb = "a0: &a0 {x: y}\n" + "".join(
        f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], l{n}: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 80)
    )
    assert set(read_tree(bomb)) == {f"a{n}" for n in range(80)}
    loop = "{allOf: [{$ref: '#/s'}, {$ref: '#/s'}], properties: {a: {$ref: '#/s'}, b: {$ref: '#/s'}}}"
    text = f"{bomb}openapi: 3.0.0\nservers: [{{url: 'https://a.b'}}]\ns: {loop}\n"
    answer = "{get: {responses: {'200': {content: {x: {schema: {$ref: '#/s'}}}}}}}"
    text += f"paths: {{/a: {answer}, /b: {{$ref: '#/paths/~1b'}}}}\n"
    done = run(written(tmp_path, text), "--resource", "a")
    assert done.exit_code == 0, done.output
    assert "/b: left out: refers to itself" in done.stderr


def test_a_file_that_is_missing_large_or_not_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "cannot be read" in run(tmp_path / "none.yaml", "--resource", "a").stderr
    (tmp_path / "odd.yaml").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in run(tmp_path / "odd.yaml", "--resource", "a").stderr
    monkeypatch.setattr("weirgate_cli.openapi.tree.TEXT_LIMIT_BYTES", 1 << 20)
    done = run(written(tmp_path, "x" * ((1 << 20) + 1)), "--resource", "a")
    assert "more than 1 MiB" in done.stderr
    done = run(written(tmp_path, PETS), "--resource", "No Name")
    assert done.exit_code == 1
    assert "name" in done.stderr


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/", "/"),
        ("/v1/", "/v1/"),
        ("/v1/{a}/{b-c}/{b_c}/{1st}", "/v1/{a}/{b_c}/{b_c_2}/{n1st}"),
        ("/é/x:y", "/%C3%A9/x:y"),
        ("/{}", "/{name}"),
    ],
)
def test_a_path_becomes_the_template_of_its_normal_form(path: str, template: str) -> None:
    assert make_template(path) == template


@pytest.mark.parametrize(
    "path",
    [
        "",
        "x",
        "/a//b",
        "/a/../b",
        "/{a}{b}",
        "/v{n}",
        "/{a",
        "/a}",
        "/x;v=1",
        "/x#y",
        "/{+p}",
        "/%2F/x",
        "/%00",
        "/\ud800\n",
    ],
)
def test_what_can_be_no_template_says_why_and_what_next(path: str) -> None:
    made = make_template(path)
    assert isinstance(made, NoTemplate), made
    assert made.why
    assert made.next


def test_the_text_of_yaml_stays_as_it_is_written() -> None:
    assert read_tree("openapi: 3.10\nno: yes\ndate: 2020-01-01\nnothing:\n") == {
        "openapi": "3.10", "no": "yes", "date": "2020-01-01", "nothing": None,
    }  # fmt: skip
    with pytest.raises(Unreadable):
        read_tree("a: *nowhere")
