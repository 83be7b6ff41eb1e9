"""What the detectors find, what they leave alone, and that the scan of a block misses nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_mask.detectors import Detectors, detectors
from weirgate_mask.recognise import RECOGNISERS

ALL = detectors(frozenset(DETECTOR_LABELS))
JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow==\n-----END RSA PRIVATE KEY-----"

FOUND: list[tuple[str, str, str]] = [
    ("pii.email", "write to jo.hn+tag@mail.example.co.uk.", "jo.hn+tag@mail.example.co.uk"),
    ("pii.email", "<joerg@bücher.example>", "joerg@bücher.example"),
    ("pii.email", "müller@example.com", "müller@example.com"),
    ("pii.email", "mailto:a@b.cd?x=1", "a@b.cd"),
    ("pii.phone", "+49 (0)30 901820", "+49 (0)30 901820"),
    ("pii.phone", "tel +14155552671", "+14155552671"),
    ("pii.phone", "(415) 555-2671", "(415) 555-2671"),
    ("pii.phone", "call 415-555-2671!", "415-555-2671"),
    ("pii.phone", "1 415.555.2671", "1 415.555.2671"),
    ("pii.ssn", "ssn: 123-45-6789.", "123-45-6789"),
    ("pii.ssn", "123 45 6789", "123 45 6789"),
    ("pii.ip", "from 203.0.113.77:443", "203.0.113.77"),
    ("pii.ip", "2001:db8::8a2e:370:7334", "2001:db8::8a2e:370:7334"),
    ("pii.ip", "fe80::1ff:fe23:4567:890a up", "fe80::1ff:fe23:4567:890a"),
    ("payment.card", "card 4111 1111 1111 1111 ok", "4111 1111 1111 1111"),
    ("payment.card", "5500-0000-0000-0004", "5500-0000-0000-0004"),
    ("payment.card", "378282246310005", "378282246310005"),
    ("payment.card", "1234 4111 1111 1111 1111", "4111 1111 1111 1111"),
    ("payment.card", "6011000990139424", "6011000990139424"),
    ("payment.iban", "DE89 3704 0044 0532 0130 00 please", "DE89 3704 0044 0532 0130 00"),
    ("payment.iban", "GB82WEST12345698765432", "GB82WEST12345698765432"),
    ("payment.iban", "nl91abna0417164300", "nl91abna0417164300"),
    ("secret.aws_key", "key=AKIAIOSFODNN7EXAMPLE;", "AKIAIOSFODNN7EXAMPLE"),
    (
        "secret.aws_key",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    ),
    ("secret.jwt", f"Authorization {JWT} end", JWT),
    ("secret.private_key", f"x {PEM} y", PEM),
    ("secret.token", "ghp_" + "a1B2" * 9, "ghp_" + "a1B2" * 9),
    ("secret.token", "xoxb-1234567890-abcdef", "xoxb-1234567890-abcdef"),
    ("secret.token", "sk_live_" + "4eC39HqLyjWDarjt", "sk_live_" + "4eC39HqLyjWDarjt"),
    ("secret.token", "Authorization: Bearer abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxyz"),
]

LEFT_ALONE = [
    "2024-01-31 10:20:30.123456+00",
    "10:20:30",
    "std::vector<int> a::b",
    "version 1.2.3",
    "256.300.1.2",
    "127.0.0.1",
    "::1",
    "aa:bb:cc:dd:ee:ff",
    "4111 1111 1111 1112",
    "1700000000000",
    "1700000000000000",
    "0.4111111111111111",
    "000-45-6789",
    "666-45-6789",
    "987-65-4321",
    "123-45-67890",
    "DE89 3704 0044 0532 0130 01",
    "AB12 some order",
    "@example.com",
    "a@b",
    "user @ example.com",
    "@decorator.method",
    "6f1c1f4e-4b3a-4f69-9d53-0d6c9f6f2b11",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "order 4155552671",
    "eyJub3QianNvbg.eyJhIjoxfQ.x",
    "-----BEGIN PUBLIC KEY-----",
    "sk-short",
    "price +100 200",
    "lorem ipsum dolor sit amet, 192.50 EUR",
]


@pytest.mark.parametrize(("label", "text", "expected"), FOUND)
def test_what_a_detector_is_for_is_found_with_its_exact_bounds(label: str, text: str, expected: str) -> None:
    raw = text.encode()
    found = [raw[start:end].decode() for start, end, labels in ALL.find(raw) if label in labels]
    assert found == [expected]


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_what_only_looks_alike_is_left_alone(text: str) -> None:
    assert ALL.find(text.encode()) == []


@pytest.mark.parametrize(("label", "text", "expected"), FOUND)
@pytest.mark.parametrize("around", [b"", b"0", b"9999", b"a", b"-", b"+", b".", b"\x00\x00\x004", b" "])
def test_the_scan_hits_inside_of_a_cell_whatever_stands_around_it(
    label: str, text: str, expected: str, around: bytes
) -> None:
    cell = text.encode()
    hits = Detectors([label]).scan(around + cell + around)
    assert hits
    assert any(len(around) < end <= len(around) + len(cell) for end in hits)


HOSTILE = b"a@|@|1 |1-|4|eyJ|::|f:|1.|DE89 |+1|a.|@a.|-----BEGIN PRIVATE KEY-----|aws key |bearer ".split(
    b"|"
)

TEXTS = st.lists(
    st.sampled_from([text for _, text, _ in FOUND] + LEFT_ALONE + ["@", "-", " ", ".", "+", "0", "x", "::"]),
    max_size=4,
).map("".join) | st.text(alphabet="0123456789@.:-+ abAB_eyJ/()=", max_size=60)


@given(TEXTS)
def test_whatever_a_recogniser_finds_the_scan_has_hit_in(text: str) -> None:
    raw = text.encode()
    for label, recognise in RECOGNISERS.items():
        for start, end in recognise(raw):
            assert 0 <= start < end <= len(raw)
            assert any(start < hit <= end for hit in detectors(frozenset((label,))).scan(raw) or ())


@pytest.mark.parametrize("label", DETECTOR_LABELS)
@pytest.mark.parametrize("unit", HOSTILE)
def test_a_hostile_text_takes_no_more_than_linear_time(label: str, unit: bytes) -> None:
    # Quadratic time would be minutes here; the time limit of a test is what would fail.
    for _ in RECOGNISERS[label](unit * 50_000):
        pass


def test_finds_that_overlap_are_joined() -> None:
    found = ALL.find(f"Bearer {JWT}".encode())
    assert len(found) == 1
    assert set(found[0][2]) == {"secret.jwt", "secret.token"}


def test_every_detector_label_has_a_detector() -> None:
    assert set(RECOGNISERS) == set(DETECTOR_LABELS)
    assert ALL.labels == DETECTOR_LABELS


def test_a_label_without_a_detector_is_refused() -> None:
    with pytest.raises(KeyError):
        Detectors(["pii.name"])


def test_a_block_full_of_hits_is_looked_at_whole() -> None:
    assert ALL.scan(b"4" * 400_000) is None
