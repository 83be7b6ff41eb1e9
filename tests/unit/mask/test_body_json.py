"""JSON bodies: fields by pattern, detectors over the rest, everything else byte for byte."""

import json
from typing import Any

import pytest

from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_contracts.masking import BodyPlan, DetectorPlan, FieldPlan, Plan, Transform, TransformKind
from weirgate_mask.body import BodyMasker, BodyUnreadable, body_masker
from weirgate_mask.keys import Keyring
from weirgate_mask.mismatch import PlanMismatch
from weirgate_mask.placeholder import is_placeholder
from weirgate_wire.error import PeerError

KEYS = Keyring(b"k" * 32)
ALL = tuple(DetectorPlan(label=label, transform=Transform(kind="redact")) for label in DETECTOR_LABELS)


def field(pattern: str, kind: TransformKind = "redact", **how: Any) -> FieldPlan:
    return FieldPlan(pattern=pattern, labels=("pii.x",), transform=Transform(kind=kind, **how))


def masker(
    *fields: FieldPlan, detectors: tuple[DetectorPlan, ...] = (), type: str = "application/json"
) -> BodyMasker:
    plan = Plan(statements=(), body=BodyPlan(fields=fields), detectors=detectors)
    made = body_masker(plan, frozenset(), type=type, parameters={}, keys=KEYS)
    assert made is not None
    return made


def masked(
    body: bytes, *fields: FieldPlan, detectors: tuple[DetectorPlan, ...] = (), type: str = "application/json"
) -> bytes:
    made = masker(*fields, detectors=detectors, type=type)
    return made.feed(body) + made.finish()


def test_a_field_is_masked_and_the_rest_comes_out_byte_for_byte() -> None:
    out = masked(b'{ "a" :1.50e3,\n"email":"x@y.zz" , "b":[ true,null ] }', field("/email"))
    assert out.startswith(b'{ "a" :1.50e3,\n"email":"[pii.x:')
    assert out.endswith(b']" , "b":[ true,null ] }')


def test_steps_may_be_any_step_any_depth_and_escaped() -> None:
    body = b'{"items":[{"email":"s1","a/b":"s2","c~d":"s3"}],"email":"s4","keep":"k"}'
    out = masked(body, field("/items/*/email"), field("/items/0/a~1b"), field("/**/c~0d"))
    assert [word in out for word in (b"s1", b"s2", b"s3", b"s4", b'"k"')] == [False, False, False, True, True]


def test_an_index_names_one_element() -> None:
    assert json.loads(masked(b'["a","b",["c"]]', field("/1", "null"))) == ["a", None, ["c"]]


def test_all_below_a_masked_field_is_masked() -> None:
    out = json.loads(masked(b'{"who":{"n":"a","m":[1,true,null,{"x":"y"}]}}', field("/who", "partial")))
    assert out == {"who": {"n": "*", "m": ["*", None, None, {"x": "*"}]}}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("redact", "12.5", str),
        ("partial", "123456", str),
        ("null", "5", type(None)),
        ("generalise", "57", int),
        ("pseudonym", "57", int),
        ("format", "12.25", float),
        ("format", "1e999", type(None)),
        ("generalise", "9" * 70, type(None)),
        ("redact", "true", type(None)),
        ("pseudonym", '"x"', str),
    ],
)
def test_scalars_are_masked_with_a_value_json_can_hold(
    kind: TransformKind, value: str, expected: type
) -> None:
    out = json.loads(masked(b'{"v":%b}' % value.encode(), field("/v", kind)))["v"]
    assert type(out) is expected
    assert out is None or str(out) != value


def test_a_null_stays_and_is_not_counted() -> None:
    made = masker(field("/*/v"))
    made.feed(b'[{"v":null},{"v":1},{"v":"x"}]')
    made.finish()
    assert made.cells_masked == 2


def test_of_two_patterns_the_stricter_masks() -> None:
    out = masked(b'{"a":"abcdef"}', field("/a", "partial", keep_last=4), field("/**/a", "null"))
    assert out == b'{"a":null}'


def test_detectors_look_at_every_string_and_key() -> None:
    body = b'{"n":"write to ann@corp.example.com now","bob@corp.example.com":1,"eve@corp.example.com":2}'
    out = json.loads(masked(body, detectors=ALL))
    assert "corp" not in json.dumps(out)
    assert len(out) == 3
    assert out["n"].startswith("write to [pii.email:")


def test_a_find_behind_escapes_is_found() -> None:
    out = masked(
        rb'{"n":"\u0061nn\u0040corp.example\u002ecom","p":"a\/b","u":"\ud83d\ude00 \n"}', detectors=ALL
    )
    assert b"corp" not in out
    assert rb'"p":"a\/b","u":"\ud83d\ude00 \n"' in out


@pytest.mark.parametrize(
    "number", [b"4111111111111111", b"-4111111111111111", b"4111111111111111.0", b"4.111111111111111E15"]
)
def test_a_number_that_is_a_card_is_masked(number: bytes) -> None:
    assert json.loads(masked(b'{"n":%b}' % number, detectors=ALL))["n"].startswith("[payment.card:")


def test_other_long_numbers_stay() -> None:
    body = b"[1234567890123456,0.4111111111111111,4.25e-300,1e400]"
    assert masked(body, detectors=ALL) == body


def test_a_find_that_becomes_null_makes_the_value_null_and_a_key_a_placeholder() -> None:
    nulls = (DetectorPlan(label="pii.email", transform=Transform(kind="null")),)
    out = json.loads(masked(b'{"ann@corp.example.com":"see ann@corp.example.com"}', detectors=nulls))
    [(key, value)] = out.items()
    assert value is None
    assert is_placeholder(key, KEYS)


def test_many_objects_alike_are_masked_like_one() -> None:
    rows: list[dict[str, Any]] = [
        {"id": n, "email": f"u{n}@corp.example.com", "in": {"card": "4111111111111111", "t": ["a", 1]}}
        for n in range(50)
    ]
    rows[30] = {"id": 30, "email": None, "in": {"card": 'q"', "t": ["ann@corp.example.com"]}}
    out = json.loads(masked(json.dumps(rows).encode(), field("/*/in/card", "null"), detectors=ALL))
    assert [row["id"] for row in out] == list(range(50))
    assert all(row["in"]["card"] is None for row in out)
    assert "corp" not in json.dumps(out)


def test_a_key_twice_is_refused_among_objects_alike() -> None:
    body = b"[" + b'{"a":1,"b":2},' * 20 + b'{"a":1,"a":2}]'
    with pytest.raises(PeerError):
        masked(body, field("/x"))


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b"[1,]",
        b"{,}",
        b'{"a":1,}',
        b"[1}",
        b'{"a"}',
        b"[01]",
        b"[1.]",
        b"[+1]",
        b"[.5]",
        b"[1e]",
        b"[NaN]",
        b"[Infinity]",
        b'["\\x"]',
        b'["\\ud800"]',
        b'["\\ud800\\u0041"]',
        b'["\n"]',
        b"{} {}",
        b"[1] x",
        b'"a',
        b"[",
        b"tru",
        b"[nul]",
        b"'a'",
        b'["\xff"]',
        b'["\xed\xa0\x80"]',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        b"{a:1}",
        b"-",
        b'{"a":1 "b":2}',
        b"[1 2]",
        b"[" * 513 + b"]" * 513,
        b"[1]\x1e",
        b'{"a" 1}',
        b"]",
        b"1 2",
    ],
)
def test_what_is_not_json_is_refused_however_it_comes(body: bytes) -> None:
    for pieces in ([body], [body[at : at + 1] for at in range(len(body))]):
        made = masker(field("/x"), detectors=ALL)
        with pytest.raises(PeerError):
            for piece in pieces:
                made.feed(piece)
            made.finish()
        with pytest.raises(PeerError):
            made.feed(b"[]")


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"null", b"1", b'"a"', b"[" * 512 + b"]" * 512, b"\xef\xbb\xbf{}", b" {} \n", b"-0.0e-0"],
)
def test_any_document_goes_through(body: bytes) -> None:
    assert masked(body, field("/x"), detectors=ALL) == body


def test_a_long_value_is_refused_where_it_must_be_looked_into_and_streams_where_not() -> None:
    long = b'["' + b"A" * 2_000_000 + b'",{"x":1}]'
    made = masker(field("/*/x"))
    out = b""
    held = most = 0
    for at in range(0, len(long), 4096):
        piece = long[at : at + 4096]
        more = made.feed(piece)
        out += more
        held += len(piece) - len(more)
        most = max(most, held)
    out += made.finish()
    assert out.startswith(long[:-3])
    assert most <= 128 * 1024
    for made in (masker(detectors=ALL), masker(field("/0"))):
        with pytest.raises(PeerError, match="1 MiB"):
            for at in range(0, len(long), 4096):
                made.feed(long[at : at + 4096])


def test_no_more_than_one_value_is_held_back() -> None:
    made = masker(field("/**/x"), detectors=ALL)
    assert made.feed(b'{"a":"b","c":"open') == b'{"a":"b","c":'
    assert made.feed(b' end","n":12') == b'"open end","n":'
    assert made.feed(b"3}") == b"123}"


def test_lines_and_sequences_are_documents_each() -> None:
    body = b'{"email":"a"}\n\n{"email":"b"}\r\n3\n'
    out = masked(body, field("/email", "null"), type="application/x-ndjson")
    assert out == b'{"email":null}\n\n{"email":null}\r\n3\n'
    out = masked(b'\x1e{"email":"a"}\n\x1e[1]\n', field("/email", "null"), type="application/json-seq")
    assert out == b'\x1e{"email":null}\n\x1e[1]\n'
    for wrong in (b"{} {}\n", b"{}\n[", b'{"a":1}x\n'):
        with pytest.raises(PeerError):
            masked(wrong, field("/email"), type="application/x-ndjson")


def plan(**how: Any) -> Plan:
    return Plan(statements=(), **how)


def test_where_nothing_is_hidden_there_is_no_masker() -> None:
    body = BodyPlan(fields=(field("/a"),))
    one = plan(body=body, detectors=ALL[:1])
    unmask = frozenset(("pii.x", ALL[0].label))
    assert body_masker(one, unmask, type="image/png", parameters={}, keys=KEYS) is None
    assert body_masker(plan(body=BodyPlan()), frozenset(), type="", parameters={}, keys=KEYS) is None


def test_a_plan_that_is_not_for_a_body_or_cannot_be_made_is_a_mismatch() -> None:
    wrong = [plan(), plan(body=BodyPlan(), impossible="no"), plan(body=BodyPlan(fields=(field("email"),)))]
    wrong += [plan(body=BodyPlan(fields=(field(pattern),))) for pattern in ("/**/a/**/b", "/a~2")]
    for one in wrong:
        with pytest.raises(PlanMismatch):
            body_masker(one, frozenset(), type="application/json", parameters={}, keys=KEYS)


@pytest.mark.parametrize(
    ("type", "charset"),
    [
        ("image/png", ""),
        ("application/octet-stream", ""),
        ("multipart/form-data", ""),
        ("application/grpc", ""),
        ("", ""),
        ("text/plain", "utf-16"),
        ("application/json", "latin-1"),
        ("text/html", "shift_jis"),
        ("text/event-stream", "utf-7"),
    ],
)
def test_a_type_or_charset_nobody_reads_is_said_to_be_unreadable(type: str, charset: str) -> None:
    with pytest.raises(BodyUnreadable):
        body_masker(
            plan(body=BodyPlan(), detectors=ALL),
            frozenset(),
            type=type,
            parameters={"charset": charset},
            keys=KEYS,
        )
