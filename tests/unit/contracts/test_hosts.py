"""Hosts of a resource: one spelling, one resource, and the gate reads them as the document means them."""

from typing import Any

import pytest

from weirgate_console.check import Sent, check_together, read_sent
from weirgate_contracts.authority import split_authority, upstream_authority, write_authority
from weirgate_contracts.config import HOSTS_LIMIT, ResourceDocument
from weirgate_contracts.document import BadDocument, read_document
from weirgate_wire.http.target import read_authority

GOOD = (
    "api.internal", "api.internal:8443", "localhost", "my_service:80", "xn--bcher-kva.example", "127.0.0.1",
    "127.0.0.1:65535", "[::1]", "[2001:db8::1]:443", "1a", "a" * 63 + ".b",
)  # fmt: skip
BAD = (
    "", "API.internal", "*.internal", "api.*", "*", "http://api.internal", "api.internal/", "a@api.internal",
    "api.internal.", ".api", "api..internal", "api.internal:", "api.internal:0", "api.internal:080",
    "api.internal:65536", "api.internal:http", "api.internal:1:2", "api internal", "api,internal", "-api", "a" * 64,
    "127.1", "0x7f.1", "256.1.1.1", "::1", "[::1", "[0:0::1]", "[fe80::1%25eth0]", "[v1.a]", "b\u00fccher.example",
    "api.internal\n", "a." * 127 + "b" * 10,
)  # fmt: skip


def crm(**more: Any) -> dict[str, Any]:
    return {"name": "crm", "protocol": "http", "upstream": "http://crm.test:8080/api"} | more


@pytest.mark.parametrize("text", GOOD)
def test_a_host_is_read_as_the_gate_reads_the_one_an_agent_sends(text: str) -> None:
    assert split_authority(text) == read_authority(text)
    assert write_authority(split_authority(text)) == text
    assert read_document("resource", crm(hosts=[text])).model_dump(mode="json")["hosts"] == [text]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_host_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(BadDocument) as caught:
        read_document("resource", crm(hosts=["ok.internal", text]))
    (complaint,) = caught.value.complaints
    assert complaint.path == ("hosts", 1)
    assert complaint.right


def test_a_host_stands_once_in_a_list_that_is_not_endless() -> None:
    with pytest.raises(BadDocument, match="twice"):
        read_document("resource", crm(hosts=["a", "a"]))
    with pytest.raises(BadDocument, match="64"):
        read_document("resource", crm(hosts=[f"h{n}" for n in range(HOSTS_LIMIT + 1)]))
    with pytest.raises(BadDocument, match="'hosts' is for"):
        read_document(
            "resource",
            {"name": "shop", "protocol": "postgres", "upstream": "postgresql://a@db/shop", "hosts": ["a"]},
        )
    mcp = {"name": "tools", "protocol": "mcp", "upstream": "http://tools.test/mcp"}
    assert read_document("resource", mcp | {"hosts": ["tools.internal"]})


def test_a_document_without_hosts_is_published_as_it_always_was() -> None:
    assert "hosts" not in ResourceDocument.model_validate(crm()).model_dump(mode="json")
    assert "hosts" not in ResourceDocument.model_validate(crm()).model_dump_json()


def test_a_host_that_another_resource_has_is_refused_where_it_is_written() -> None:
    standing = {("resource", "old"): crm(name="old", hosts=["api.internal", "old.internal"])}
    sent = [
        Sent(
            kind="resource",
            body=crm(hosts=["crm.internal", "api.internal"]),
            file="f.yaml",
            lines={"hosts/1": 7},
        ),
        Sent(kind="resource", body=crm(name="b", hosts=["api.internal:8443", "crm.internal"]), file="g.yaml"),
    ]
    documents, problems = read_sent(sent)
    assert not problems
    found = [(one.file, one.line, one.what) for one in check_together(documents, standing, {})]
    assert found == [
        ("f.yaml", 1, "'crm.internal' is a host of resource 'b' already"),
        ("f.yaml", 7, "'api.internal' is a host of resource 'old' already"),
        ("g.yaml", 1, "'crm.internal' is a host of resource 'crm' already"),
    ]
    # It may move in one go, and the same document may be sent again.
    moved = [Sent(kind="resource", body=crm(name="old")), sent[0]]
    assert not check_together(read_sent(moved)[0], standing, {})
    again = [Sent(kind="resource", body=dict(standing["resource", "old"]))]
    assert not check_together(read_sent(again)[0], standing, {})


@pytest.mark.parametrize(
    ("address", "authority"),
    [
        ("http://API.test/x", ("api.test", 80)),
        ("https://api.test", ("api.test", 443)),
        ("https://[2001:DB8:0::1]:8443/", ("2001:db8::1", 8443)),
        ("http://127.1/", None),
        ("http://a:b/", None),
        ("ftp://a/", None),
    ],
)
def test_an_upstreams_own_authority(address: str, authority: tuple[str, int] | None) -> None:
    assert upstream_authority(address) == authority
