"""Targets, hosts and media types in their one normal form."""

import pytest

from weirgate_wire.error import PeerError
from weirgate_wire.http.field import HeadTooLong
from weirgate_wire.http.media import read_media_type
from weirgate_wire.http.target import Target, read_authority, read_target, split_absolute


def test_a_target_is_read_into_path_and_pairs() -> None:
    found = read_target("/v1/%63ustomers/caf%c3%a9?a=1&b=x+y%26z&a=%c3%a9&c&=d&&")
    assert found == Target(
        path="/v1/customers/caf%C3%A9",
        query=(("a", "1"), ("b", "x y&z"), ("a", "\xe9"), ("c", ""), ("", "d")),
        raw_query="a=1&b=x+y%26z&a=%c3%a9&c&=d&&",
    )
    assert found.encode() == "/v1/customers/caf%C3%A9?a=1&b=x+y%26z&a=%c3%a9&c&=d&&"
    assert found.segments == ("v1", "customers", "caf\xe9")


def test_an_empty_query_is_not_the_same_as_none() -> None:
    assert read_target("/a").raw_query is None
    assert read_target("/a?").raw_query == ""
    assert read_target("/a?").encode() == "/a?"


def test_segments_are_decoded_and_tell_a_trailing_slash() -> None:
    assert read_target("/").segments == ("",)
    assert read_target("/a/").segments == ("a", "")
    assert read_target("/a%3Ab;v=1").segments == ("a:b;v=1",)
    assert read_target("/a:b").segments == read_target("/a%3ab").segments


def test_a_target_in_normal_form_stays_as_it_is() -> None:
    for target in ("/", "/a/b%20c/", "/a;b=c", "/a?b=%2F%252f", "/%E4%BD%95"):
        assert read_target(target).encode() == target


@pytest.mark.parametrize("target", ["", "a", "*", "?a", "http://a/", "//a", "a:443"])
def test_only_origin_form_is_read(target: str) -> None:
    with pytest.raises(PeerError):
        read_target(target)


def test_limits_hold_to_the_byte_and_the_pair() -> None:
    read_target("/" + "a" * (16 * 1024 - 1))
    with pytest.raises(HeadTooLong):
        read_target("/" + "a" * 16 * 1024)
    assert len(read_target("/?" + "&".join(["a"] * 1000)).query) == 1000
    with pytest.raises(HeadTooLong):
        read_target("/?" + "&".join(["a"] * 1001))


def test_an_absolute_target_is_split() -> None:
    assert split_absolute("HTTPS://A.example:8443/b?c") == ("https", "A.example:8443", "/b?c")
    assert split_absolute("http://a") == ("http", "a", "/")
    assert split_absolute("http://a?b=http://c/") == ("http", "a", "/?b=http://c/")


def test_a_target_that_shows_nothing_in_its_representation() -> None:
    assert "secret" not in repr(read_target("/secret?secret"))


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("A.Example", "a.example", None),
        ("a:65535", "a", 65535),
        ("my_db", "my_db", None),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("[0:0:0::1]:80", "::1", 80),
        ("[2001:DB8::A]", "2001:db8::a", None),
    ],
)
def test_a_host_is_read_in_one_form(text: str, host: str, port: int | None) -> None:
    assert read_authority(text) == (host, port)


@pytest.mark.parametrize(
    "text", ["", ":", "a:", "x@a", "a b", "a/", "[::1", "::1", "127.1", "1", "a.0x1", "a.."]
)
def test_a_host_that_could_be_read_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(PeerError):
        read_authority(text)


@pytest.mark.parametrize(
    ("value", "media", "parameters"),
    [
        ("text/HTML", "text/html", {}),
        ("application/json; Charset=UTF-8", "application/json", {"charset": "UTF-8"}),
        (
            'multipart/form-data;boundary="a;b\\"c" ; x=y',
            "multipart/form-data",
            {"boundary": 'a;b"c', "x": "y"},
        ),
        ("application/problem+json ;", "application/problem+json", {}),
        ("text/plain; ;a=b", "text/plain", {"a": "b"}),
        ('a/b;c=""', "a/b", {"c": ""}),
    ],
)
def test_a_media_type_is_read(value: str, media: str, parameters: dict[str, str]) -> None:
    assert read_media_type(value) == (media, parameters)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "text",
        "text/",
        "/html",
        "text /html",
        "text/html, text/plain",
        "text/html;a",
        "text/html;a=",
        "text/html;a =b",
        "text/html;a= b",
        "text/html;a=b;A=c",
        'text/html;a="b',
        'text/html;a="b"c',
        "text/html a=b",
        "*/*, a/b",
        "caf\xe9/a",
        "text/html;a=\xe9",
    ],
)
def test_a_malformed_media_type_is_refused(value: str) -> None:
    with pytest.raises(PeerError):
        read_media_type(value)
