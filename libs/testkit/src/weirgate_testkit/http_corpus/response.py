"""Responses: RFC 9112 sections 4 and 6.3; response splitting and desynchronised answers."""

from weirgate_testkit.http_corpus.case import Case

_HELLO = b"Content-Length: 5\r\n\r\nhello"

# Name, method of the request, bytes.
_REFUSED: list[tuple[str, str, bytes]] = [
    ("an empty line before it", "GET", b"\r\nHTTP/1.1 200 OK\r\n" + _HELLO),
    ("a bare LF before it", "GET", b"\nHTTP/1.1 200 OK\r\n" + _HELLO),
    ("a space before it", "GET", b" HTTP/1.1 200 OK\r\n" + _HELLO),
    ("HTTP/0.9, a body alone", "GET", b"hello\r\n\r\n"),
    ("HTTP/2.0", "GET", b"HTTP/2.0 200 OK\r\n" + _HELLO),
    ("HTTP/1.2", "GET", b"HTTP/1.2 200 OK\r\n" + _HELLO),
    ("the protocol in lower case", "GET", b"http/1.1 200 OK\r\n" + _HELLO),
    ("ICY", "GET", b"ICY 200 OK\r\n" + _HELLO),
    ("two spaces", "GET", b"HTTP/1.1  200 OK\r\n" + _HELLO),
    ("a tab", "GET", b"HTTP/1.1\t200\tOK\r\n" + _HELLO),
    ("two digits", "GET", b"HTTP/1.1 20 OK\r\n" + _HELLO),
    ("four digits", "GET", b"HTTP/1.1 2000 OK\r\n" + _HELLO),
    ("status 099", "GET", b"HTTP/1.1 099 OK\r\n" + _HELLO),
    ("status 600", "GET", b"HTTP/1.1 600 OK\r\n" + _HELLO),
    ("status +20", "GET", b"HTTP/1.1 +20 OK\r\n" + _HELLO),
    ("no status", "GET", b"HTTP/1.1 OK\r\n" + _HELLO),
    ("a NUL in the reason", "GET", b"HTTP/1.1 200 O\x00K\r\n" + _HELLO),
    ("a bare CR in the reason", "GET", b"HTTP/1.1 200 O\rK\r\n" + _HELLO),
    ("a bare LF behind the reason", "GET", b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"),
    ("bare LF throughout", "GET", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    ("a folded field", "GET", b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\n" + _HELLO),
    ("a space before a colon", "GET", b"HTTP/1.1 200 OK\r\nX-A : b\r\n" + _HELLO),
    ("a split in a field", "GET", b"HTTP/1.1 200 OK\r\nX-A: b\nSet-Cookie: c=d\r\n" + _HELLO),
    ("two equal lengths", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + _HELLO),
    ("two different lengths", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n" + _HELLO),
    ("a list of lengths", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello"),
    (
        "a length and chunks",
        "GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    ("chunks in HTTP/1.0", "GET", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("gzip and chunks", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("a coding that is none", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello"),
    ("a body shorter than its length", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello"),
    ("chunks without an end", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    ("204 with a length", "GET", b"HTTP/1.1 204 No Content\r\n" + _HELLO),
    ("204 with chunks", "GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("100 with a length", "GET", b"HTTP/1.1 100 Continue\r\n" + _HELLO),
    ("101 with chunks", "GET", b"HTTP/1.1 101 Switching\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (
        "304 with two lengths",
        "GET",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    ),
    (
        "HEAD with a length and chunks",
        "HEAD",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    ),
    ("HEAD with a malformed length", "HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\n"),
    ("200 to CONNECT with a length", "CONNECT", b"HTTP/1.1 200 OK\r\n" + _HELLO),
    (
        "200 to CONNECT with chunks",
        "CONNECT",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("Connection lists Set-Cookie", "GET", b"HTTP/1.1 200 OK\r\nConnection: Set-Cookie\r\n" + _HELLO),
    (
        "a trailer of Set-Cookie",
        "GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nSet-Cookie: a=b\r\n\r\n",
    ),
]

# Name, method of the request, bytes, what is sent on, what is left.
_SENT: list[tuple[str, str, bytes, bytes, bytes]] = [
    (
        "as it should be",
        "GET",
        b"HTTP/1.1 200 OK\r\n" + _HELLO,
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"",
    ),
    (
        "no reason",
        "GET",
        b"HTTP/1.1 200 \r\n" + _HELLO,
        b"HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\nhello",
        b"",
    ),
    (
        "no space behind the status",
        "GET",
        b"HTTP/1.1 200\r\n" + _HELLO,
        b"HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\nhello",
        b"",
    ),
    (
        "a reason of several words",
        "GET",
        b"HTTP/1.1 404 Not  Found\r\n" + _HELLO,
        b"HTTP/1.1 404 Not  Found\r\ncontent-length: 5\r\n\r\nhello",
        b"",
    ),
    ("a body until the end", "GET", b"HTTP/1.1 200 OK\r\n\r\nhello", b"HTTP/1.1 200 OK\r\n\r\nhello", b""),
    (
        "a body until the end, HTTP/1.0",
        "GET",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"",
    ),
    (
        "204 and something behind",
        "GET",
        b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
    ),
    (
        "204 with a length of 0",
        "GET",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
        b"",
    ),
    (
        "304 with the length it would have",
        "GET",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
        b"hello",
    ),
    (
        "HEAD with the length it would have",
        "HEAD",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        b"hello",
    ),
    (
        "chunks",
        "GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\nX-A: b\r\n\r\nHTTP",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-a: b\r\n\r\n",
        b"HTTP",
    ),
    (
        "a second answer behind it",
        "GET",
        b"HTTP/1.1 200 OK\r\n" + _HELLO + b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n",
    ),
    (
        "404 to CONNECT",
        "CONNECT",
        b"HTTP/1.1 404 No\r\n" + _HELLO,
        b"HTTP/1.1 404 No\r\ncontent-length: 5\r\n\r\nhello",
        b"",
    ),
    (
        "many cookies",
        "GET",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n" + _HELLO,
        b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\nset-cookie: c=d\r\ncontent-length: 5\r\n\r\nhello",
        b"",
    ),
]

CASES: list[Case] = [
    *(
        Case(name=f"response: {name}", raw=raw, sent=None, side="response", method=method)
        for name, method, raw in _REFUSED
    ),
    *(
        Case(name=f"response: {name}, sent", raw=raw, sent=out, side="response", method=method, rest=rest)
        for name, method, raw, out, rest in _SENT
    ),
]
