"""The parts MCP is made of: messages, events, session ids, the memory of definitions, metadata."""

import pytest

from weirgate_contracts.definition import definition_digest
from weirgate_contracts.identity import Identity
from weirgate_contracts.mcp import McpItem
from weirgate_ingress.gates.http.mcp.events import EventReader, write_event
from weirgate_ingress.gates.http.mcp.memory import DefinitionMemory
from weirgate_ingress.gates.http.mcp.message import Malformed, read_message, same_id
from weirgate_ingress.gates.http.mcp.metadata import metadata_asked, metadata_url
from weirgate_ingress.gates.http.mcp.session import SealedIds
from weirgate_testkit.mcp_story import TOOLS
from weirgate_testkit.story import IDENTITY
from weirgate_wire.error import PeerError
from weirgate_wire.http.head import RequestHead


def item(name: str, kind: str = "tool", sha256: str = "a") -> McpItem:
    return McpItem.model_validate({"kind": kind, "name": name, "sha256": sha256})


def test_an_id_is_the_same_only_with_its_type() -> None:
    assert same_id(1, 1)
    assert same_id("1", "1")
    assert not same_id(1, "1")
    assert not same_id(None, 1)


def test_messages_are_told_apart() -> None:
    for raw, kind in (
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}', "request"),
        (b'{"jsonrpc":"2.0","method":"x"}', "notification"),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', "result"),
        (b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}', "error"),
        (b'{"jsonrpc":"2.0","id":"1","error":{"code":1,"message":"\\ud83d\\ude00"}}', "error"),
    ):
        assert read_message(raw).kind == kind
    for raw in (
        b'{"jsonrpc":"2.0","id":1,"result":[]}',
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"x"}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":"x"}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":true,"message":"x"}}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"params":{}}',
        b'{"jsonrpc":"2.0","id":"' + b"x" * 300 + b'","result":{}}',
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"result":{}}',
    ):
        with pytest.raises(Malformed):
            read_message(raw)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_are_read_whatever_ends_their_lines_and_wherever_they_are_cut(end: bytes) -> None:
    lines = [b"\xef\xbb\xbf: hello", b"event: message", b"id: 1", b"data: {", b"data: }", b"", b"data:x", b""]
    stream = end.join([*lines, b"id: 2", b"data", b"", b":"])
    stream += end + b"data: unfinished" + end
    whole = EventReader().feed(stream)
    assert whole[:3] == [b"", b"{\n}", b"x"]
    reader = EventReader()
    assert [one for at in range(len(stream)) for one in reader.feed(stream[at : at + 1])] == whole


def test_an_event_is_written_as_it_is_read() -> None:
    for payload in (b'{"a": 1}', b'{\n"a": 1\n}', b"x"):
        assert EventReader().feed(write_event(payload)) == [payload]


def test_an_event_is_bounded_and_of_one_name() -> None:
    for bad in (b"event: endpoint\ndata: /x\n\n", b"data: \0\n\n", b"data: x\n" * 700_000, b"x" * 5_000_000):
        with pytest.raises(PeerError):
            EventReader().feed(bad)


def test_a_sealed_id_opens_for_one_identity_resource_and_key_only() -> None:
    ids = SealedIds(b"k" * 32)
    sealed = ids.seal("srv", IDENTITY, TOOLS)
    assert "srv" not in sealed
    assert SealedIds(b"k" * 32).open(sealed, IDENTITY, TOOLS) == "srv"
    assert SealedIds(b"j" * 32).open(sealed, IDENTITY, TOOLS) is None
    for change in ({"agent": "eve"}, {"user": "u"}, {"issuer": "x"}):
        other = Identity.model_validate(IDENTITY.model_dump() | change)
        assert ids.open(sealed, other, TOOLS) is None
    for change in ({"name": "other"}, {"upstream": "http://elsewhere.test/mcp"}):
        assert ids.open(sealed, IDENTITY, TOOLS.model_copy(update=change)) is None
    for bad in ("", "srv", sealed[:-1], sealed + "A", "ä", "=" * 8, "A" * 5000, sealed.swapcase()):
        assert ids.open(bad, IDENTITY, TOOLS) is None
    # A token of another narrowing, or renewed, is the same agent.
    renewed = IDENTITY.model_copy(update={"token_id": "t2", "expires_at": 1, "tool": "x"})
    assert ids.open(sealed, renewed, TOOLS) == "srv"
    assert "k" * 8 not in repr(ids)


def test_the_memory_is_bounded_and_keeps_identities_apart() -> None:
    memory = DefinitionMemory(agents_limit=2, tools_limit=3)
    memory.offered(IDENTITY, "tools", [item(f"t{n}") for n in range(4)] + [item("p", "prompt")])
    assert [memory.find(IDENTITY, "tools", f"t{n}") for n in range(4)] == [None, "a", "a", "a"]
    assert memory.find(IDENTITY, "tools", "p") is None
    assert memory.find(IDENTITY, "other", "t1") is None
    memory.offered(IDENTITY, "tools", [item("t1", sha256="b")])
    assert memory.find(IDENTITY, "tools", "t1") == "b"
    others = [IDENTITY.model_copy(update={"agent": name}) for name in ("x", "y")]
    assert memory.find(others[0], "tools", "t1") is None
    for other in others:
        memory.offered(other, "tools", [item("t1")])
    assert memory.find(IDENTITY, "tools", "t1") is None
    assert memory.find(others[1], "tools", "t1") == "a"


def test_a_digest_is_of_the_value_and_not_of_its_writing() -> None:
    one, two = {"a": 1, "b": {"x": [1.5, None], "ü": "ß"}}, {"b": {"ü": "ß", "x": [1.5, None]}, "a": 1}
    assert definition_digest(one) == definition_digest(two)
    assert definition_digest(one) != definition_digest(one | {"a": 2})
    for bad, why in (({"a": float("nan")}, "float"), ({"a": "\ud800"}, "surrogates")):
        with pytest.raises(ValueError, match=why):
            definition_digest(bad)


def get(path: str, *, method: str = "GET", **fields: str) -> RequestHead:
    headers = {"host": "gw.test"} | fields
    return RequestHead(method=method, target=path, headers=tuple(headers.items()))


def test_metadata_is_the_same_for_every_name_and_for_no_other_path() -> None:
    well_known = "/.well-known/oauth-protected-resource"
    for path in (f"{well_known}/tools", f"/tools{well_known}", f"{well_known}/nowhere"):
        head = get(path)
        assert metadata_asked(head, metadata_url(head, tls=True), ()) is not None
    for head in (
        get(well_known),
        get(f"{well_known}/tools/x"),
        get(f"{well_known}/UPPER"),
        get(f"/a/b{well_known}"),
        get("/tools/x"),
        get(f"{well_known}/tools", method="POST"),
        get(f"/tools{well_known}", authorization="Bearer x"),
        get(f"{well_known}/tools", host='gw"evil'),
        get(f"{well_known}/../tools"),
    ):
        assert metadata_asked(head, metadata_url(head, tls=True), ()) is None
    assert metadata_url(get("/tools/x"), tls=True) == f"https://gw.test{well_known}/tools"
    assert metadata_url(get("/tools/x", host="gw.test:99, x"), tls=True) is None
