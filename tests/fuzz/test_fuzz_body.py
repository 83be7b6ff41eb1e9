"""Bodies under noise and cut anywhere: the same output, PeerError or nothing, and never a masked value."""

import contextlib
import json
from itertools import pairwise
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_contracts.masking import BodyPlan, DetectorPlan, FieldPlan, Plan, Transform
from weirgate_mask.body import BodyMasker, body_masker
from weirgate_mask.detectors import detectors
from weirgate_mask.found import found_in
from weirgate_mask.keys import Keyring
from weirgate_mask.textbody import TextBody
from weirgate_wire.error import PeerError
from weirgate_wire.http.coding import CODINGS, Decoder, decoded_beginning
from weirgate_wire.http.encoder import Encoder

KEYS = Keyring(b"k" * 32)
REDACT = Transform(kind="redact")
DETECTORS = tuple(DetectorPlan(label=label, transform=REDACT) for label in DETECTOR_LABELS)
FIELDS = (
    FieldPlan(pattern="/**/email", labels=("pii.email",), transform=REDACT),
    FieldPlan(pattern="/*/card", labels=("payment.card",), transform=Transform(kind="partial", keep_last=2)),
    FieldPlan(pattern="/a/1", labels=("pii.x",), transform=Transform(kind="null")),
)
PLAN = Plan(statements=(), body=BodyPlan(fields=FIELDS), detectors=DETECTORS)
TYPES = (
    "application/json", "application/x-ndjson", "application/json-seq", "text/csv", "text/event-stream", "text/html",
    "text/plain", "application/x-www-form-urlencoded", "application/javascript",
)  # fmt: skip
SECRETS = (
    "ann.example@corp.example.com", "4111 1111 1111 1111", "4111111111111111", "DE89 3704 0044 0532 0130 00",
    "GB29 NWBK 6016 1331 9268 19",
    "123-45-6789", "+49 170 1234567", "AKIAIOSFODNN7EXAMPLE", "192.168.17.23",
    "bearer abcdefghijklmnopqrstuvwxyz0123", "aws secret: wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYAA",
    "-----BEGIN RSA PRIVATE KEY-----\nabc def\n-----END RSA PRIVATE KEY-----",
)  # fmt: skip


def masker(type: str, plan: Plan = PLAN) -> BodyMasker:
    made = body_masker(plan, frozenset(), type=type, parameters={}, keys=KEYS)
    assert made is not None
    return made


def run(type: str, pieces: list[bytes], plan: Plan = PLAN) -> bytes | None:
    made = masker(type, plan)
    try:
        return b"".join([made.feed(piece) for piece in pieces]) + made.finish()
    except PeerError:
        return None


def cut(body: bytes, at: list[int]) -> list[bytes]:
    marks = sorted({0, len(body), *(one % (len(body) + 1) for one in at)})
    return [body[start:end] for start, end in pairwise(marks)]


NAMES = st.sampled_from(["email", "card", "a", "name", "é", 'q"', "ann@corp.example.com"]) | st.text(
    max_size=4
)
AROUND = st.text(max_size=5)
TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(SECRETS),
    st.tuples(AROUND, st.sampled_from(SECRETS), AROUND).map("".join),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False), TEXTS,
    st.sampled_from([4111111111111111, 4111111111111111.0]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    keys = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    rows = draw(st.lists(st.tuples(SCALARS, SCALARS, SCALARS, st.lists(SCALARS, max_size=2)), max_size=14))
    return [dict(zip(keys, row, strict=False)) for row in rows]


DOCUMENTS = VALUES | tables()
CUTS = st.lists(st.integers(0, 4000), max_size=6)


def dumped(document: Any, ascii: bool, indent: int | None) -> bytes:
    text = json.dumps(document, ensure_ascii=ascii, indent=indent)
    return text.encode("utf-8", "replace") if not ascii else text.encode()


@settings(max_examples=400)
@given(st.sampled_from(TYPES), st.binary(max_size=200), CUTS)
def test_noise_is_refused_or_comes_out_the_same_however_it_is_cut(
    type: str, noise: bytes, cuts: list[int]
) -> None:
    assert (
        run(type, [noise])
        == run(type, cut(noise, cuts))
        == run(type, [noise[at : at + 1] for at in range(len(noise))])
    )


@settings(max_examples=400)
@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 1]), CUTS)
def test_cutting_json_anywhere_changes_nothing(
    document: Any, ascii: bool, indent: int | None, cuts: list[int]
) -> None:
    body = dumped(document, ascii, indent)
    assert run("application/json", [body]) == run("application/json", cut(body, cuts))


def masks_at(path: tuple[str, ...]) -> FieldPlan | None:
    for end in range(1, len(path) + 1):
        if path[end - 1] == "email":
            return FIELDS[0]
        if end == 2 and path[1] == "card":
            return FIELDS[1]
        if path[:end] == ("a", "1"):
            return FIELDS[2]
    return None


FOUND = found_in(PLAN, frozenset(), KEYS)


def reference(value: Any, path: tuple[str, ...] = ()) -> Any:
    """What a masked document must be, for the plan above."""
    assert FOUND is not None
    if isinstance(value, dict):
        made: dict[str, Any] = {}
        masked = 0
        for key, member in value.items():
            name = FOUND.key(key.encode())
            if name is not None:
                masked += 1
                name = name if masked == 1 else f"{name}#{masked}"
            made[key if name is None else name] = reference(member, (*path, key))
        return made
    if isinstance(value, list):
        return [reference(member, (*path, str(at))) for at, member in enumerate(value)]
    field = masks_at(path)
    if value is None or (field is not None and isinstance(value, bool)):
        return None
    if field is not None:
        text = value if isinstance(value, str) else json.dumps(value)
        if field.transform.kind == "null":
            return None
        if field.transform.kind == "redact":
            return FOUND.substitute(("pii.email",)).token
        return "*" * len(text) if len(text) <= 2 else "*" * (len(text) - 2) + text[-2:]
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        masked_text, _ = FOUND.text(value.encode())
        return masked_text.decode("utf-8", "replace")
    token = FOUND.token(json.dumps(value).encode())
    return json.loads(token)


@settings(max_examples=600)
@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 1]))
@example([{"email": "x", "card": 12, "n": "ann@corp.example.com"}] * 20, True, None)
def test_valid_json_is_masked_as_the_simple_masker_does_it(
    document: Any, ascii: bool, indent: int | None
) -> None:
    body = dumped(document, ascii, indent)
    out = run("application/json", [body])
    try:
        read = json.loads(body)
        json.dumps(read, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        assert out is None
        return
    assert out is not None
    assert json.loads(out) == reference(read)


@settings(max_examples=200)
@given(VALUES, CUTS)
def test_json_that_nothing_masks_comes_out_byte_for_byte(document: Any, cuts: list[int]) -> None:
    plan = Plan(
        statements=(),
        body=BodyPlan(fields=(FieldPlan(pattern="/no/such/place", labels=("pii.x",), transform=REDACT),)),
    )
    body = dumped(document, True, None)
    out = run("application/json", cut(body, cuts), plan)
    assert out == body or (out is None and b"\\ud" in body)


@settings(max_examples=300)
@given(
    st.sampled_from(TYPES[3:]),
    st.lists(st.sampled_from(SECRETS), min_size=1, max_size=4),
    CUTS,
    st.integers(0, 3),
)
def test_nothing_of_a_secret_appears_wherever_the_body_is_cut(
    type: str, secrets: list[str], cuts: list[int], form: int
) -> None:
    between = ("\n", " so it is, ", " <b> ", " | ")[form]
    text = between.join(("begin", *secrets, "end"))
    if type == "text/csv":
        text = "\n".join("c" for _ in range(1)) + "\n" + "\n".join('"' + one + '"' for one in secrets) + "\n"
    if type == "application/x-www-form-urlencoded":
        text = "&".join(f"k{at}={one.replace('+', '%2B')}" for at, one in enumerate(secrets))
    if type == "text/event-stream":
        text = "".join("data: " + one.replace("\n", "\ndata: ") + "\n\n" for one in secrets)
    out = run(type, cut(text.encode(), cuts))
    assert out is not None
    for secret in secrets:
        bare = (
            secret.split("bearer ")[-1].split("aws secret: ")[-1].split("\n")[-1 if "\n" not in secret else 1]
        )
        assert bare.encode() not in out, bare


WORDS = st.sampled_from(
    [*SECRETS, " ", "\n", "aws", "secret", "bearer", "4111", "1111", "DE89", "1 2 3", "a@", "b.cd", ".", "-", "+", "1",
     "-----BEGIN", " PRIVATE KEY-----", "-----END PRIVATE KEY-----", "é", "<", "eyJhbGciOiJub25lIn0.", "x" * 50]
)  # fmt: skip


@settings(max_examples=600)
@given(st.lists(WORDS, max_size=30), CUTS, st.booleans())
def test_text_is_masked_as_if_it_had_come_in_one_piece(
    words: list[str], cuts: list[int], markup: bool
) -> None:
    text = "".join(words).encode()
    assert FOUND is not None
    body = TextBody(FOUND, markup=markup)
    out = b"".join([body.feed(piece) for piece in cut(text, cuts)]) + body.finish()
    assert out == FOUND.text(text)[0]


@settings(max_examples=300)
@given(st.lists(WORDS, max_size=60), CUTS)
def test_a_short_hold_cuts_at_the_same_places_for_any_pieces(words: list[str], cuts: list[int]) -> None:
    text = "".join(words).encode()
    outs: list[bytes] = []
    for pieces in ([text], cut(text, cuts), [text[at : at + 1] for at in range(len(text))]):
        body = TextBody(FOUND, hold_bytes=256)
        outs.append(b"".join([body.feed(piece) for piece in pieces]) + body.finish())
    assert outs[0] == outs[1] == outs[2]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(SECRETS[:-1]) | st.just(" and "), max_size=6), CUTS)
def test_a_value_cut_across_deltas_is_masked_and_the_text_stays_whole(
    words: list[str], cuts: list[int]
) -> None:
    text = "well, ".join(["", *words])
    pieces = [piece.decode() for piece in cut(text.encode(), cuts)] if text else []
    events = [
        {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in pieces
    ]
    stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    out = run("text/event-stream", [stream.encode()])
    assert out is not None
    assert out.endswith(b"data: [DONE]\n\n")
    said = "".join(
        json.loads(block.removeprefix(b"data: "))["choices"][0]["delta"]["content"]
        for block in out.split(b"\n\n")[:-2]
    )
    assert FOUND is not None
    assert said == FOUND.text(text.encode())[0].decode()


ALONE = st.from_regex(
    r"\A[A-Za-z]{1,17}[._-]?[A-Za-z]{0,16}[0-9]{0,6}@[A-Za-z]{1,20}(\.[A-Za-z0-9]{1,20}){0,3}\.[A-Za-z]{2,10}\Z"
)


@settings(max_examples=500)
@given(ALONE)
def test_the_short_way_for_an_address_finds_what_the_long_way_does(text: str) -> None:
    assert FOUND is not None
    assert FOUND.find(text.encode()) == detectors(frozenset(DETECTOR_LABELS)).find(text.encode())


CHAINS = st.lists(st.sampled_from(CODINGS), min_size=1, max_size=2)
REPEATED = st.tuples(st.binary(max_size=9), st.integers(0, 60_000)).map(lambda drawn: drawn[0] * drawn[1])
BODIES = st.binary(max_size=300) | REPEATED


def coded(chain: list[str], pieces: list[bytes], *, flushes: bool) -> bytes:
    made = Encoder(chain)
    out = b"".join(made.feed(piece) + (made.flush() if flushes else b"") for piece in pieces)
    return out + made.finish()


def undone(chain: list[str], pieces: list[bytes]) -> bytes:
    made = Decoder(chain)
    out = b"".join(one for piece in pieces for one in made.feed(piece))
    made.finish()
    return out


@settings(max_examples=300)
@given(CHAINS, st.binary(max_size=300), CUTS)
def test_noise_is_no_coded_body_or_the_same_one_however_it_is_cut(
    chain: list[str], noise: bytes, cuts: list[int]
) -> None:
    outs: list[bytes | None] = []
    for pieces in ([noise], cut(noise, cuts), [noise[at : at + 1] for at in range(len(noise))]):
        outs.append(None)
        with contextlib.suppress(PeerError):
            outs[-1] = undone(chain, pieces)
    assert outs[0] == outs[1] == outs[2]


@settings(max_examples=300, deadline=None)
@given(CHAINS, BODIES, CUTS, CUTS, st.booleans())
def test_a_coded_body_is_decoded_however_it_was_and_is_cut(
    chain: list[str], body: bytes, before: list[int], after: list[int], flushes: bool
) -> None:
    raw = coded(chain, cut(body, before), flushes=flushes)
    assert undone(chain, cut(raw, after)) == body


@settings(max_examples=400, deadline=None)
@given(CHAINS, BODIES, CUTS, st.data())
def test_a_coded_body_that_is_cut_changed_or_followed_is_refused_or_what_it_was(
    chain: list[str], body: bytes, cuts: list[int], data: st.DataObject
) -> None:
    raw = coded(chain, [body], flushes=False)
    assume(len(raw) > 1)
    end = data.draw(st.integers(1, len(raw) - 1))
    refused = False
    try:
        undone(chain, cut(raw[:end], cuts))
    except PeerError:
        refused = True
    assert refused
    begun, whole = b"", False
    with contextlib.suppress(PeerError):
        begun, whole = decoded_beginning(raw[:end], chain, limit_bytes=len(body))
    assert body.startswith(begun)
    assert not whole
    at = data.draw(st.integers(0, len(raw) - 1))
    spoilt = raw[:at] + bytes((raw[at] ^ data.draw(st.integers(1, 255)),)) + raw[at + 1 :]
    for pieces in ([spoilt], cut(raw + data.draw(st.binary(max_size=9)), cuts)):
        with contextlib.suppress(PeerError):
            assert len(undone(chain, pieces)) <= max(1 << 20, len(raw) * 1000) + (8 << 20)
