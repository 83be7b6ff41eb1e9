"""Every message reads back as it was written."""

import pytest

from weirgate_wire.postgres.agent import AgentMessage
from weirgate_wire.postgres.error import PeerError, UsageError, decode_fields, encode_fields
from weirgate_wire.postgres.message import (
    COPY_DONE,
    NO_DATA,
    PARSE_COMPLETE,
    Authentication,
    BackendKeyData,
    Bind,
    Close,
    CommandComplete,
    CopyData,
    CopyDone,
    CopyFail,
    CopyResponse,
    DataRow,
    Describe,
    ErrorResponse,
    Execute,
    FieldDescription,
    Flush,
    FunctionCall,
    NegotiateProtocolVersion,
    NoticeResponse,
    NotificationResponse,
    ParameterDescription,
    ParameterStatus,
    Parse,
    PasswordMessage,
    Query,
    ReadyForQuery,
    RowDescription,
    SaslInitialResponse,
    SaslResponse,
    Sync,
    Terminate,
    UpstreamMessage,
    decode_agent,
    decode_password,
    decode_status,
    decode_tag,
    decode_upstream,
)
from weirgate_wire.postgres.row import cut_block, each_frame, join_row, split_row

AGENT: list[AgentMessage] = [
    Query("select 'é'"),
    Parse("s", "select $1", (25, 4_294_967_295)),
    Bind("p", "s", (b"a", None, b""), (0, 1, 0), (1,)),
    Bind("", ""),
    Bind("", "", (b"x",) * 40_000),
    Describe("S", "s"),
    Execute("p", 10),
    Close("P", "p"),
    Flush(),
    Sync(),
    Terminate(),
    FunctionCall(7),
    CopyData(b"\x00x"),
    CopyDone(),
    CopyFail("no"),
]
UPSTREAM: list[UpstreamMessage] = [
    RowDescription((FieldDescription("n", 16_384, 2, 25, -1, 44, 1), FieldDescription("é"))),
    DataRow((b"a", None, b"")),
    CommandComplete("SELECT 1"),
    ReadyForQuery("T"),
    ErrorResponse({"S": "ERROR", "C": "42601", "M": "é"}),
    NoticeResponse({}),
    NotificationResponse(5, "c", "payload"),
    ParameterStatus("TimeZone", "UTC"),
    ParameterDescription((25, 23)),
    CopyResponse("in", 1, (1, 1)),
    CopyResponse("out", 0, ()),
    CopyResponse("both", 0, (0,)),
    Authentication(5, b"salt"),
    BackendKeyData(9, b"k" * 32),
    NegotiateProtocolVersion(0x30002, ("_pq_.x",)),
    PARSE_COMPLETE,
    NO_DATA,
    COPY_DONE,
]


@pytest.mark.parametrize("message", AGENT, ids=lambda one: type(one).__name__)
def test_a_message_of_the_agent_reads_back(message: AgentMessage) -> None:
    raw = message.encode()
    assert decode_agent(raw[0], raw[5:]) == message


@pytest.mark.parametrize("message", UPSTREAM, ids=lambda one: type(one).__name__)
def test_a_message_of_the_upstream_reads_back(message: UpstreamMessage) -> None:
    raw = message.encode()
    assert decode_upstream(raw[0], raw[5:]) == message


@pytest.mark.parametrize("message", [one for one in AGENT if not isinstance(one, (CopyData, FunctionCall))])
def test_bytes_too_few_or_too_many_are_refused(message: AgentMessage) -> None:
    raw = message.encode()
    with pytest.raises(PeerError):
        decode_agent(raw[0], raw[5:] + b"\0")
    if len(raw) > 5:
        with pytest.raises(PeerError):
            decode_agent(raw[0], raw[5:-1])


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"B", b"\0\0\0\0\xff\xff"),
        (b"B", b"\0\0\0\1\0\2\0\0\0\0"),
        (b"B", b"\0\0\0\0\0\1\xff\xff\xff\xfe\0\0"),
        (b"B", b"\0\0\0\2\0\0\0\1\0\1\0\0\0\1x\0\0"),
        (b"P", b"\0select 1\0\xff\xff"),
        (b"P", b"\0\xff\0\0\0"),
        (b"D", b"Xname\0"),
        (b"Q", b"a\0b\0"),
        (b"!", b""),
    ],
)
def test_counts_formats_and_texts_are_not_trusted(kind: bytes, body: bytes) -> None:
    with pytest.raises(PeerError):
        decode_agent(kind[0], body)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"T", b"\xff\xff"),
        (b"Z", b"X"),
        (b"K", b"\0\0\0\1abc"),
        (b"v", b"\0\3\0\0\xff\xff\xff\xff"),
        (b"V", b""),
    ],
)
def test_the_upstream_is_not_trusted_either(kind: bytes, body: bytes) -> None:
    with pytest.raises(PeerError):
        decode_upstream(kind[0], body)


def test_secrets_are_in_no_repr() -> None:
    for one in (
        PasswordMessage(b"hush"),
        SaslResponse(b"hush"),
        SaslInitialResponse("S", b"hush"),
        BackendKeyData(1, b"hush"),
    ):
        assert "hush" not in repr(one)


def test_a_password_is_one_text() -> None:
    assert decode_password(PasswordMessage(b"x").encode()[5:]).password == b"x"
    for body in (b"", b"x", b"x\0y\0", b"x\0\0"):
        with pytest.raises(PeerError):
            decode_password(body)


def test_a_sasl_response_without_text_says_so() -> None:
    assert SaslInitialResponse("M", None).encode().endswith(b"M\0\xff\xff\xff\xff")


def test_a_list_of_mechanisms_reads_back() -> None:
    assert Authentication(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0").mechanisms()[1] == "SCRAM-SHA-256"


def test_error_fields_end_where_they_must() -> None:
    assert decode_fields(encode_fields({"M": "a\0b"})) == {"M": "a\ufffdb"}
    for body in (b"", b"Mx", b"Mx\0", b"Mx\0\0y"):
        with pytest.raises(PeerError):
            decode_fields(body)
    with pytest.raises(UsageError):
        encode_fields({"MM": "x"})


def test_nul_in_a_text_of_ours_is_our_bug() -> None:
    with pytest.raises(UsageError):
        Query("a\0b").encode()


def test_rows_split_join_and_are_cut_at_a_limit() -> None:
    rows = [join_row([b"a", None]), join_row([b"bb", b""]), join_row([])]
    block = b"".join(rows)
    assert [split_row(block, at, end) for at, end in each_frame(block)] == [[b"a", None], [b"bb", b""], []]
    assert cut_block(block, rows=2, size_bytes=None) == (len(rows[0] + rows[1]), 2)
    assert cut_block(block, rows=None, size_bytes=len(rows[0])) == (len(rows[0]), 1)
    assert cut_block(block, rows=0, size_bytes=None) == (0, 0)


@pytest.mark.parametrize(
    "body", [b"", b"\0\1", b"\0\1\0\0\0\5x", b"\0\1\xff\xff\xff\xfe", b"\0\0x", b"\xff\xff"]
)
def test_a_row_that_does_not_add_up_is_refused(body: bytes) -> None:
    with pytest.raises(PeerError):
        split_row(body)


@pytest.mark.parametrize("block", [b"D", b"D\0\0\0\5", b"D\0\0\0\3"])
def test_a_block_that_holds_a_piece_of_a_row_is_refused(block: bytes) -> None:
    with pytest.raises(PeerError):
        list(each_frame(block))


def test_short_answers_are_read_without_a_message_object() -> None:
    assert decode_tag(CommandComplete("COPY 5").encode()) == "COPY 5"
    assert decode_status(ReadyForQuery("E").encode()) == "E"
    for raw in (b"C\0\0\0\6a\0b", b"C\0\0\0\6\xff\0"):
        with pytest.raises(PeerError):
            decode_tag(raw)
    for raw in (b"Z\0\0\0\5x", b"Z\0\0\0\4"):
        with pytest.raises(PeerError):
            decode_status(raw)
