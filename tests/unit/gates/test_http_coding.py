"""Coded bodies of requests: judged and sent on as the text they hold, or refused."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard

from weirgate_contracts.events import OperationRefused, SessionClosed
from weirgate_contracts.http import BODY_LIMIT_BYTES
from weirgate_ingress.gates.core import Ask, Dial, Hangup, Record, Send, Side, Tape
from weirgate_testkit.http_story import HttpStory, request, status_of

PAY = b'{"amount": 12, "to": "' + b"x" * 400 + b'"}'


def twice(body: bytes) -> bytes:
    return bytes(brotli.compress(gzip.compress(body)))


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress,
    "zstd": zstandard.compress, "gzip, br": twice,
    "identity, GZIP": gzip.compress,
}  # fmt: skip


def pay(body: bytes, coding: str, **headers: str) -> bytes:
    return request(
        "POST", "/crm/v1/pay", body=body, content_type="application/json", content_encoding=coding, **headers
    )


def told(one: HttpStory, status: int, code: str) -> dict[str, object]:
    one.expect(Record, OperationRefused).says(lambda raw: status_of(raw) == status)
    head, _, body = one.last.data.partition(b"\r\n\r\n")  # type: ignore[attr-defined]
    problem: dict[str, object] = json.loads(body)
    assert problem["code"] == code
    assert (b"accept-encoding: gzip, deflate, br, zstd" in head) == (status == 415)
    one.expect(Record, SessionClosed).expect(Hangup).expect_nothing_sent_to(Side.UPSTREAM)
    return problem


@pytest.mark.parametrize("coding", PACK)
def test_what_is_judged_is_the_text_and_what_is_sent_on_is_what_was_judged(coding: str) -> None:
    digests = {"content_digest": "sha-256=:x:", "digest": "x", "repr_digest": "x", "content_md5": "x"}
    one = HttpStory().agent_sends(pay(PACK[coding](PAY), coding, **digests)).known().expect(Ask)
    assert one.ask is not None
    call = one.ask.event.call
    assert call is not None
    assert call.body is not None
    assert (call.body.text, call.body.size_bytes) == (PAY.decode(), len(PAY))
    assert call.body.sha256 == hashlib.sha256(PAY).hexdigest()
    one.sent_on(body=PAY)
    names = {name for name, _ in one.head.headers}
    assert not names & {"content-encoding", "content-md5", "digest", "content-digest", "repr-digest"}
    assert one.head.get("content-length") == str(len(PAY))
    assert "content-encoding" not in {field.name for field in call.headers}
    (taped,) = [effect.data for effect in one.all if isinstance(effect, Tape)]
    assert taped.endswith(b"\r\n\r\n" + PAY)


def test_the_digest_is_that_of_the_same_request_sent_plainly() -> None:
    asked: list[str] = []
    plain = request("POST", "/crm/v1/pay", body=PAY, content_type="application/json")
    for sent in (plain, pay(gzip.compress(PAY), "gzip"), pay(zstandard.compress(PAY), "zstd")):
        one = HttpStory().agent_sends(sent).known().expect(Ask)
        assert one.ask is not None
        asked.append(one.ask.event.digest)
    assert asked[0] == asked[1] == asked[2]


def test_a_body_that_is_not_read_keeps_its_coding() -> None:
    sent = request("PUT", "/crm/v1/pay", body=b"\x1f\x8bxx", content_type="image/svg", content_encoding="odd")
    one = HttpStory().agent_sends(sent).known().expect(Ask).allow().expect(Dial)
    assert one.ask is not None
    assert one.ask.event.call is not None
    assert ("content-encoding", "odd") in [(f.name, f.value) for f in one.ask.event.call.headers]


@pytest.mark.parametrize("coding", ["compress", "dcz", "aes128gcm", "gzip, gzip, gzip", "gzip;q=1", '"'])
def test_a_coding_nobody_can_read_is_refused_before_a_byte_of_the_body(coding: str) -> None:
    head = request(
        "POST", "/crm/v1/pay", content_type="application/json", content_encoding=coding, content_length="99",
        expect="100-continue",
    )  # fmt: skip
    problem = told(HttpStory().agent_sends(head).known(), 415, "coding_unknown")
    assert "gzip, deflate, br, zstd" in str(problem["hint"])


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_body_that_is_not_coded_as_it_says_is_refused(coding: str) -> None:
    coded = PACK[coding](PAY)
    for body in (coded[:-1], coded + b"x", b"{}", coded[:5] + bytes(len(coded))):
        told(HttpStory().agent_sends(pay(body, coding)).known(), 400, "protocol")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_bomb_is_refused_at_the_size_a_plain_body_may_have(coding: str) -> None:
    fits = b'"' + b"x" * (BODY_LIMIT_BYTES - 2) + b'"'
    HttpStory().agent_sends(pay(PACK[coding](fits), coding)).known().expect(Ask)
    for body in (fits + b" ", bytes(64 << 20)):
        told(HttpStory().agent_sends(pay(PACK[coding](body), coding)).known(), 413, "too_large")


def test_what_holds_nothing_without_end_is_refused() -> None:
    # Skippable frames come to no byte of text: their own size is what ends them.
    skip = b"\x50\x2a\x4d\x18" + (65_536).to_bytes(4, "little") + bytes(65_536)
    head = request(
        "POST", "/crm/v1/pay", content_type="application/json", content_encoding="zstd", transfer_encoding="chunked"
    )  # fmt: skip
    one = HttpStory().agent_sends(head).known()
    sized = b"%x\r\n%s\r\n" % (len(skip), skip)
    for _ in range(BODY_LIMIT_BYTES // len(skip) + 1):
        one.agent_sends(sized)
    told(one, 413, "too_large")


def test_nothing_of_a_coded_body_is_sent_before_it_is_allowed() -> None:
    one = HttpStory().agent_sends(pay(gzip.compress(PAY), "gzip")).known().expect(Ask).refused()
    one.says(lambda raw: status_of(raw) == 403).expect_nothing_sent_to(Side.UPSTREAM)
    assert not [e for e in one.all if isinstance(e, Send) and e.side is Side.UPSTREAM]
