"""Documents that say how the gateway shows itself: what is wrong, where, and what would be right."""

from typing import Any

import pytest

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.document import BadDocument, read_document

API: dict[str, Any] = {
    "name": "api",
    "protocol": "http",
    "upstream": "https://api.test",
    "credential": "env:SECRET",
}
OAUTH2 = {"inject": "oauth2", "oauth2": {"token_url": "https://login.test/token", "client_id": "gate"}}
SIGV4 = {
    "inject": "sigv4",
    "sigv4": {"region": "eu-central-1", "service": "s3", "access_key_id": "AKIDEXAMPLE"},
}
PAIR = {"client_cert": "file:/c.pem", "client_key": "env:KEY"}


def change(of: dict[str, Any], name: str, **given: Any) -> dict[str, Any]:
    return of | {name: of[name] | given}


@pytest.mark.parametrize(
    "more", [OAUTH2, SIGV4, PAIR | {"inject": "bearer"}, OAUTH2 | PAIR | {"http2": False}]
)
def test_each_way_is_read_and_as_published_read_again(more: dict[str, Any]) -> None:
    document = read_document("resource", API | more)
    published = document.model_dump(mode="json")
    assert read_document("resource", published) == document
    for name in ("oauth2", "sigv4", "client_cert", "http2"):
        assert (name in published) == (name in more)


def test_a_certificate_goes_without_a_credential() -> None:
    body = {name: value for name, value in API.items() if name != "credential"} | PAIR
    document = read_document("resource", body)
    assert isinstance(document, ResourceDocument)
    assert document.http2


@pytest.mark.parametrize(
    ("body", "path", "what"),
    [
        (API | {"inject": "oauth2"}, ("inject",), "stands without 'oauth2'"),
        (API | {"inject": "sigv4"}, ("inject",), "stands without 'sigv4'"),
        (API | OAUTH2 | {"inject": "bearer"}, ("oauth2",), "without 'inject: oauth2'"),
        (API | change(OAUTH2, "oauth2", token_url="http://login.test/t"), ("oauth2", "token_url"), "https"),
        (API | change(OAUTH2, "oauth2", token_url="https://a:b@login.test/t"), ("oauth2", "token_url"), "no user"),
        (API | change(OAUTH2, "oauth2", token_url="login"), ("oauth2", "token_url"), "no address"),
        (API | change(OAUTH2, "oauth2", auth="jwt"), ("oauth2", "auth"), "'jwt' is not known"),
        (API | change(OAUTH2, "oauth2", scope=" a"), ("oauth2", "scope"), "cannot stand here"),
        (API | change(OAUTH2, "oauth2", clientid="a"), ("oauth2", "clientid"), "unknown field"),
        (API | change(SIGV4, "sigv4", region="eu central"), ("sigv4", "region"), "cannot stand here"),
        (API | change(SIGV4, "sigv4", session_token="abc"), ("sigv4", "session_token"), "never the value"),
        (API | change(SIGV4, "sigv4", access_key_id="a b"), ("sigv4", "access_key_id"), "no id of an access key"),
        (API | {"inject": "bearer", "client_cert": "file:/c"}, ("client_cert",), "without 'client_key'"),
        (API | {"inject": "bearer", "client_key": "file:/c"}, ("client_key",), "without 'client_cert'"),
        (API | PAIR | {"inject": "bearer", "upstream": "http://h"}, ("client_cert",), "for an https:// upstream"),
        (API | {"inject": "bearer", "client_cert": "-----BEGIN", "client_key": "env:K"}, ("client_cert",), "never"),
        (API | {"inject": "header:Host"}, ("inject",), "would change how the message is read"),
        (API | {"inject": "header:content-length"}, ("inject",), "would change how the message is read"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_place(body: dict[str, Any], path: tuple[str, ...], what: str) -> None:
    with pytest.raises(BadDocument) as raised:
        read_document("resource", body)
    found = [one for one in raised.value.complaints if one.path == path]
    assert found, raised.value.complaints
    assert any(what in one.what for one in found), found


@pytest.mark.parametrize("more", [OAUTH2, SIGV4, PAIR, {"http2": False}])
def test_postgres_has_none_of_it(more: dict[str, Any]) -> None:
    body = {"name": "shop", "protocol": "postgres", "upstream": "postgresql://a@h/d"} | more
    with pytest.raises(BadDocument):
        read_document("resource", body)
