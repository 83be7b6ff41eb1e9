"""Documents of HTTP resources: what is wrong, where, and what would be right."""

from typing import Any

import pytest

from weirgate_contracts.config import LabelsDocument, ResourceDocument
from weirgate_contracts.document import BadDocument, Complaint, read_document

CRM: dict[str, Any] = {
    "name": "crm",
    "protocol": "http",
    "upstream": "https://crm.internal:8443/api",
    "credential": "env:CRM_TOKEN",
    "inject": "bearer",
    "routes": ["/v1/customers/{id}", "/v1/customers"],
}
SHOP: dict[str, Any] = {"name": "shop", "protocol": "postgres", "upstream": "postgresql://app@db:5432/shop"}


def wrong(kind: Any, body: dict[str, Any]) -> list[Complaint]:
    with pytest.raises(BadDocument) as raised:
        read_document(kind, body)
    return list(raised.value.complaints)


def test_an_http_resource_and_its_labels_are_read() -> None:
    resource = read_document("resource", CRM)
    assert isinstance(resource, ResourceDocument)
    assert resource.routes == ("/v1/customers/{id}", "/v1/customers")
    fields = {"/v1/customers/{id} /email": "pii.email", "* /**/ssn": "pii.ssn"}
    labels = read_document("labels", {"resource": "crm", "fields": fields})
    assert isinstance(labels, LabelsDocument)
    assert labels.fields == fields


@pytest.mark.parametrize("wait_s", [0, 30, 3600])
def test_how_long_a_held_request_waits(wait_s: int) -> None:
    resource = read_document("resource", CRM | {"hold_wait_s": wait_s})
    assert isinstance(resource, ResourceDocument)
    assert resource.hold_wait_s == wait_s


@pytest.mark.parametrize("wait_s", [-1, 3601, 1.5, "30", True])
def test_a_wait_that_is_none_is_told_what_would_be_right(wait_s: object) -> None:
    (complaint,) = wrong("resource", CRM | {"hold_wait_s": wait_s})
    assert complaint.path == ("hold_wait_s",)
    assert "3600" in (complaint.right or "")


@pytest.mark.parametrize("wait_s", [0, 30])
def test_a_database_has_no_later(wait_s: int) -> None:
    complaints = wrong("resource", SHOP | {"hold_wait_s": wait_s})
    assert [one.path for one in complaints] == [("hold_wait_s",)]
    assert "protocol: http" in (complaints[0].right or "")


def test_a_document_as_published_is_read_again() -> None:
    for kind, body in (("resource", CRM), ("resource", SHOP)):
        document = read_document(kind, body)  # type: ignore[arg-type]
        assert read_document(kind, document.model_dump(mode="json")) == document  # type: ignore[arg-type]
    for held in ({"columns": {"a.b.c": "pii.x"}}, {"fields": {"* /a": "pii.x"}}):
        document = read_document("labels", {"resource": "crm"} | held)
        assert read_document("labels", document.model_dump(mode="json")) == document


@pytest.mark.parametrize(
    ("change", "path", "what", "right"),
    [
        ({"upstream": "postgresql://a@db/x"}, ("upstream",), "a postgresql:// address is of 'protocol: postgres'",
         "write 'upstream: https://host:port/base', or 'protocol: postgres'"),
        ({"upstream": "crm.internal"}, ("upstream",), "this is no address of 'protocol: http'", "https://host"),
        ({"upstream": "https:///base"}, ("upstream",), "the address names no host", "https://host"),
        ({"upstream": "https://h:99999"}, ("upstream",), "the address cannot be read", "https://host"),
        ({"upstream": "https://[::1"}, ("upstream",), "the address cannot be read", "https://host"),
        ({"upstream": "https://app@h"}, ("upstream",), "no user in its address", "'inject: basic'"),
        ({"upstream": "https://app:pw@h"}, ("upstream",), "a password stands in the address", "credential: env"),
        ({"upstream": "https://h/?key=1"}, ("upstream",), "no query in its address", "https://host"),
        ({"inject": None}, ("credential",), "'credential' stands without 'inject'", "write 'inject: bearer'"),
        ({"credential": None}, ("inject",), "'inject' stands without 'credential'", "write 'credential: env:NAME'"),
        ({"inject": "beerer"}, ("inject",), "'inject' says how", "header:NAME"),
        ({"inject": "header:"}, ("inject",), "'inject' says how", "header:NAME"),
        ({"catalog": "postgresql://a@b/c"}, ("catalog",), "'catalog' is for 'protocol: postgres'", "leave it out"),
        ({"upstream": "http://h", "ca": "/ca.pem"}, ("ca",), "'ca' is for an https:// upstream", "https"),
        ({"routes": ["v1/x"]}, ("routes", 0), "begins with '/'", "a template such as /v1/customers/{id}"),
        ({"routes": ["/a", "/b?x=1"]}, ("routes", 1), "without query", "a template"),
        ({"routes": ["/a//b"]}, ("routes", 0), "no segment but the last is empty", "a template"),
        ({"routes": ["/a/../b"]}, ("routes", 0), "dot segments", "a template"),
        ({"routes": ["/a/x{id}"]}, ("routes", 0), "no template can", "a name in braces stands for one whole"),
        ({"routes": ["/a%2fb"]}, ("routes", 0), "upper case", "a template"),
        ({"routes": ["/a%41"]}, ("routes", 0), "%41 stands in no path", "a template"),
        ({"routes": ["/a%2Fb"]}, ("routes", 0), "%2F stands in no path", "a template"),
        ({"routes": ["/{id}/{id}"]}, ("routes", 0), "a name stands twice", "a template"),
        ({"routes": ["/a/{id}", "/a/{name}"]}, ("routes", 1), "match the same paths", "keep one"),
        ({"routes": ["/a", "/a"]}, ("routes", 1), "stands twice", "keep one"),
        ({"unread": "mask"}, ("unread",), "'mask' is not known", "one of pass, refuse"),
        ({"protocol": "htp"}, ("protocol",), "'htp' is not known", "did you mean 'http'?"),
        ({"route": []}, ("route",), "unknown field 'route'", "did you mean 'routes'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_http_resource_is_said_at_its_place(
    change: dict[str, Any], path: tuple[str | int, ...], what: str, right: str
) -> None:
    complaints = wrong("resource", CRM | change)
    assert [complaint.path for complaint in complaints] == [path], complaints
    assert what in complaints[0].what
    assert right in (complaints[0].right or "")


@pytest.mark.parametrize(
    ("change", "path", "what", "right"),
    [
        ({"upstream": "https://h"}, ("upstream",), "a https:// address is of 'protocol: http'",
         "write 'upstream: postgresql://user@host:port/database', or 'protocol: http'"),
        ({"upstream": "postgresql://db/x"}, ("upstream",), "names no user", "postgresql://user@host"),
        ({"catalog": "http://h"}, ("catalog",), "of 'protocol: http'", "write 'catalog: postgresql://"),
        ({"inject": "bearer"}, ("inject",), "'inject' is for 'protocol: http'", "leave it out"),
        ({"routes": ["/x"]}, ("routes",), "'routes' is for 'protocol: http'", "leave it out"),
        ({"unread": "pass"}, ("unread",), "'unread' is for 'protocol: http'", "leave it out"),
    ],
)  # fmt: skip
def test_what_only_http_has_is_refused_of_postgres(
    change: dict[str, Any], path: tuple[str | int, ...], what: str, right: str
) -> None:
    complaints = wrong("resource", SHOP | change)
    assert [complaint.path for complaint in complaints] == [path], complaints
    assert what in complaints[0].what
    assert right in (complaints[0].right or "")


def test_a_credential_written_where_inject_stands_is_not_repeated() -> None:
    (complaint,) = wrong("resource", CRM | {"inject": "hunter2"})
    assert "hunter2" not in complaint.what + (complaint.right or "")


@pytest.mark.parametrize(
    ("body", "path", "what"),
    [
        ({}, (), "neither 'columns' nor 'fields' stands here"),
        ({"fields": {}}, ("fields",), "'fields' is empty"),
        ({"columns": {}}, ("columns",), "'columns' is empty"),
        ({"fields": {"/email": "pii.email"}}, ("fields", "/email"), "a route and a pointer"),
        ({"fields": {"/v1/x email": "pii.email"}}, ("fields", "/v1/x email"), "'email' is no pointer"),
        ({"fields": {"v1/c /email": "pii.email"}}, ("fields", "v1/c /email"), "'v1/c' is no route, it begins with '/'"),
        ({"fields": {"/a{b} /email": "pii.email"}}, ("fields", "/a{b} /email"), "is no route"),
        ({"fields": {"* /a/**/b": "pii.email"}}, ("fields", "* /a/**/b"), "'**' stands only as the first step"),
        ({"fields": {"* /a//b": "pii.email"}}, ("fields", "* /a//b"), "is no pointer"),
        ({"fields": {"* /a~b": "pii.email"}}, ("fields", "* /a~b"), "is written '~0'"),
        ({"fields": {"*  /a": "pii.email"}}, ("fields", "*  /a"), "is no pointer"),
        ({"fields": {"* /a": "PII"}}, ("fields", "* /a"), "'PII' cannot stand here"),
        ({"fields": ["* /a"]}, ("fields",), "dictionary"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_labels_is_said_at_its_place(
    body: dict[str, Any], path: tuple[str | int, ...], what: str
) -> None:
    complaints = wrong("labels", {"resource": "crm"} | body)
    assert [complaint.path for complaint in complaints] == [path], complaints
    assert what in complaints[0].what
    assert complaints[0].right


def test_a_character_that_stands_decoded_in_a_path_is_never_written_coded_in_a_template() -> None:
    for code in range(0x80):
        decoded = chr(code).isalnum() or chr(code) in "-._~"
        impossible = decoded or chr(code) in "/\\" or code < 0x20 or code == 0x7F
        body = CRM | {"routes": [f"/a%{code:02X}b"]}
        if impossible:
            assert wrong("resource", body), code
        else:
            read_document("resource", body)


@pytest.mark.parametrize("route", ["/", "/v1/", "/v1/customers/{id}/orders", "/a:b/~c", "/%C3%A9"])
@pytest.mark.parametrize("pointer", ["/email", "/items/*/email", "/**/ssn", "/a~1b", "/*", "/0/x"])
def test_routes_and_pointers_that_are_right_are_taken(route: str, pointer: str) -> None:
    read_document("resource", CRM | {"routes": [route]})
    read_document("labels", {"resource": "crm", "fields": {f"{route} {pointer}": "pii.x"}})
