"""Text, markup, tables and forms: masked in flat memory, cut anywhere."""

import pytest

from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_contracts.masking import BodyPlan, DetectorPlan, FieldPlan, Plan, Transform, TransformKind
from weirgate_mask.body import HOLD_LIMIT_BYTES, BodyMasker, BodyUnreadable, body_masker
from weirgate_mask.keys import Keyring
from weirgate_wire.error import PeerError

KEYS = Keyring(b"k" * 32)
ALL = tuple(DetectorPlan(label=label, transform=Transform(kind="redact")) for label in DETECTOR_LABELS)
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEA\n" * 20 + "-----END RSA PRIVATE KEY-----"


def field(pattern: str, kind: TransformKind = "redact") -> FieldPlan:
    return FieldPlan(pattern=pattern, labels=("pii.x",), transform=Transform(kind=kind))


def masker(
    type: str, *fields: FieldPlan, detectors: tuple[DetectorPlan, ...] = ALL, **parameters: str
) -> BodyMasker:
    plan = Plan(statements=(), body=BodyPlan(fields=fields), detectors=detectors)
    made = body_masker(plan, frozenset(), type=type, parameters=parameters, keys=KEYS)
    assert made is not None
    return made


def masked(type: str, text: str | bytes, *fields: FieldPlan, size: int = 1 << 30, **parameters: str) -> str:
    body = text.encode() if isinstance(text, str) else text
    made = masker(type, *fields, detectors=ALL, **parameters)
    out = b"".join([made.feed(body[at : at + size]) for at in range(0, len(body), size)]) + made.finish()
    return out.decode("latin-1" if parameters.get("charset") == "latin-1" else "utf-8")


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    ("before", "secret"),
    [
        ("mail ", "ann.example@corp.example.com"),
        ("card ", "4111 1111 1111 1111"),
        ("iban ", "DE89 3704 0044 0532 0130 00"),
        ("aws secret is: ", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYAA"),
        ("Authorization: Bearer    ", "abcdefghij0123456789xyz"),
        ("call ", "+1 (415) 555-2671"),
        ("key\n", PEM),
        ("id ", "123 45 6789"),
        ("iban ", "GB29 NWBK 6016 1331 9268 19"),
    ],
)
def test_a_value_cut_across_pieces_is_masked(size: int, before: str, secret: str) -> None:
    out = masked("text/plain", f"so {before}{secret} and on\n", size=size)
    assert out.startswith("so " + before.rstrip(" "))
    assert out.endswith(" and on\n")
    assert secret not in out
    assert "[" in out


def test_text_comes_out_as_soon_as_no_find_can_reach_it() -> None:
    made = masker("text/plain")
    assert made.feed(b"one two thr") == b"one two"
    assert made.feed(b"ee\n") == b" three"


def test_what_is_held_back_is_bounded() -> None:
    made = masker("text/plain")
    held = most = 0
    for _ in range(300):
        held += 1000 - len(made.feed(b"x1" * 500))
        most = max(most, held)
    assert most <= HOLD_LIMIT_BYTES
    assert most + len(made.finish()) > 0


@pytest.mark.parametrize("lines", [10, 100_000])
def test_a_private_key_without_end_is_never_let_through(lines: int) -> None:
    out = masked("text/plain", "a\n-----BEGIN PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEA\n" * lines, size=5000)
    assert "MIIE" not in out
    assert out.startswith("a\n[secret.private_key:")


def test_text_behind_a_very_long_private_key_goes_on() -> None:
    text = PEM.replace("MIIEowIBAAKCAQEA\n" * 20, "MIIEowIBAAKCAQEA\n" * 20_000)
    out = masked("text/plain", f"a\n{text}\nafter", size=3001)
    assert "MIIE" not in out
    assert out.endswith("]\nafter")


def test_a_very_long_token_is_masked_from_its_beginning() -> None:
    token = "eyJhbGciOiJub25lIn0." + "abc123" * 40_000 + ".sig"
    out = masked("text/plain", f"a {token} b", size=4096)
    assert out.startswith("a [secret.jwt:")
    assert out.endswith("] b")
    assert len(out) < 100


def test_markup_hides_nothing_in_references() -> None:
    text = "<a href='x'>ann&#64;corp&period;example.com</a> a &lt; b &amp; c &#60;"
    out = masked("text/html", text, size=5)
    assert "corp" not in out
    assert out.endswith("</a> a &lt; b &amp; c &#60;")


def test_a_charset_of_one_byte_a_character_stays_what_it_is() -> None:
    out = masked("text/plain", "caf\xe9 ann@corp.example.com \xe9".encode("latin-1"), charset="latin-1")
    assert out.startswith("caf\xe9 [pii.email:")
    assert out.endswith(" \xe9")


def test_text_with_zero_bytes_is_refused() -> None:
    for type in ("text/plain", "text/csv", "text/event-stream", "application/xml"):
        with pytest.raises(PeerError):
            masked(type, "ann@corp.example.com\n\n".encode("utf-16-le"))


def test_json_that_says_it_is_text_is_masked_by_its_fields() -> None:
    for size in (1, 100):
        assert (
            masked("text/plain", ' [ {"ssn":"s1"}]', field("/*/ssn", "null"), size=size) == ' [ {"ssn":null}]'
        )
        assert masked("text/html", '{"ssn":"s1"}', field("/ssn", "null"), size=size) == '{"ssn":null}'
        assert masked("text/plain", "[INFO] {ssn}", field("/ssn", "null"), size=size) == "[INFO] {ssn}"
        assert masked("text/plain", " [", field("/ssn", "null"), size=size) == " ["
    with pytest.raises(PeerError):
        masked("text/plain", '{"ssn":"s1"', field("/ssn"))


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_columns_are_masked_by_name_and_cells_by_content(size: int) -> None:
    table = 'id,"E-Mail",note\r\n1,x,"said ""hi"", to\nann@corp.example.com"\r\n2,"y,z",plain\r\n3,,q'
    out = masked("text/csv", table, field("/*/e-mail", "partial"), size=size)
    lines = out.split("\r\n")
    assert lines[0] == 'id,"E-Mail",note'
    assert lines[1].startswith('1,*,"said ""hi"", to\n[pii.email:')
    assert lines[2:] == ['2,"***",plain', "3,,q"]


def test_a_table_without_header_is_looked_at_or_unreadable() -> None:
    assert "corp" not in masked("text/csv", "1,ann@corp.example.com\n2,b\n", header="absent")
    with pytest.raises(BodyUnreadable):
        masker("text/csv", field("/email"), header="absent")


@pytest.mark.parametrize(
    "table",
    [
        "a,email\n1\n",
        "a,email\n1,2,3\n",
        'a,email\n1,x"y\n',
        'a,email\n1,"y',
        "a;email\n1;2\n",
        "a,email\r1,2\r",
    ],
)
def test_a_table_whose_cells_are_not_clear_is_refused(table: str) -> None:
    with pytest.raises(PeerError):
        masked("text/csv", table, field("/email"))


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_a_form_is_masked_by_name_and_content(size: int) -> None:
    form = "a=1+%2b&email=x%40y&&to=ann%40corp.example.com&z"
    out = masked("application/x-www-form-urlencoded", form, field("/email", "partial"), size=size)
    assert out.startswith("a=1+%2b&email=%2A%2A%2A&&to=%5Bpii.email%3A")
    assert out.endswith("%5D&z")


def test_cells_and_finds_are_counted() -> None:
    made = masker("text/plain")
    made.feed(b"ann@corp.example.com bob@corp.example.com\n")
    made.finish()
    assert made.cells_masked == 2
    made = masker("text/csv", field("/email"))
    made.feed(b"email,n\nx,y\nz,ann@corp.example.com\n")
    made.finish()
    assert made.cells_masked == 3
