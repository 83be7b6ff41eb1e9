"""Chunks and trailers: RFC 9112 section 7, RFC 9110 section 6.5; chunk size, extension and trailer tricks.

"TERM.EXT" and "EXT.TERM" ("Funky chunks", 2025), CVE-2023-39326, CVE-2024-35161 (trailers).
"""

from weirgate_testkit.http_corpus.case import Case, refused, sent

_HEAD = b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
_OUT = b"POST /p HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
_END = b"0\r\n\r\n"
_HELLO = b"5\r\nhello\r\n"
_NEXT = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"

_REFUSED: list[tuple[str, bytes]] = [
    ("a size with 0x", b"0x5\r\nhello\r\n" + _END),
    ("a size with a plus", b"+5\r\nhello\r\n" + _END),
    ("a size with a minus", b"-5\r\nhello\r\n" + _END),
    ("a size with an underscore", b"0_5\r\nhello\r\n" + _END),
    ("a size with a fraction", b"5.0\r\nhello\r\n" + _END),
    ("a size with h behind", b"5h\r\nhello\r\n" + _END),
    ("a size of 17 digits", b"00000000000000005\r\nhello\r\n" + _END),
    ("a size that overflows to 5", b"10000000000000005\r\nhello\r\n" + _END),
    ("a size beyond what follows", b"FFFFFFFFFFFFFFFF\r\nhello\r\n" + _END),
    ("no size", b"\r\nhello\r\n" + _END),
    ("no size but an extension", b";a=b\r\nhello\r\n" + _END),
    ("a space before the size", b" 5\r\nhello\r\n" + _END),
    ("a space behind the size", b"5 \r\nhello\r\n" + _END),
    ("a tab behind the size", b"5\t\r\nhello\r\n" + _END),
    ("a NUL behind the size", b"5\x00\r\nhello\r\n" + _END),
    ("vertical tab behind the size", b"5\x0b\r\nhello\r\n" + _END),
    ("a digit of another script", b"\xd9\xa5\r\nhello\r\n" + _END),
    ("the size ends with a bare LF", b"5\nhello\r\n" + _END),
    ("the size ends with a bare CR", b"5\rhello\r\n" + _END),
    ("the size ends with CR CR LF", b"5\r\r\nhello\r\n" + _END),
    ("the size ends with LF CR", b"5\n\rhello\r\n" + _END),
    ("the data ends with a bare LF", b"5\r\nhello\n" + _END),
    ("the data ends with a bare CR", b"5\r\nhello\r" + _END),
    ("the data ends with nothing", b"5\r\nhello" + _END),
    ("the data ends with two other bytes", b"5\r\nhelloXX" + _END),
    ("the data is longer than its size", b"4\r\nhello\r\n" + _END),
    ("the data is shorter than its size", b"6\r\nhello\r\n" + _END),
    ("the last chunk ends with LF LF", _HELLO + b"0\n\n"),
    ("the last chunk ends with CRLF LF", _HELLO + b"0\r\n\n"),
    ("the last chunk ends with LF CRLF", _HELLO + b"0\n\r\n"),
    ("the last chunk ends with CR CR", _HELLO + b"0\r\r"),
    ("the last chunk of minus zero", _HELLO + b"-0\r\n\r\n"),
    ("no last chunk", _HELLO),
    ("no empty line at the end", _HELLO + b"0\r\n"),
    ("half an empty line at the end", _HELLO + b"0\r\n\r"),
    ("white space as the last line", _HELLO + b"0\r\n \r\n\r\n"),
    ("an extension that is too long", b"5;a=" + b"b" * 1025 + b"\r\nhello\r\n" + _END),
    ("an extension without an end", b"5;a=" + b"b" * 5000),
    ("many long extensions", (b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 17 + _END),
    ("an extension with a bare LF", b"5;a\nb\r\nhello\r\n" + _END),
    ("an extension with a bare CR", b"5;a\rb\r\nhello\r\n" + _END),
    ("an extension that hides a size behind LF", b"2;\nxx\r\n4\r\nhello\r\n" + _END),
    ("an extension with a NUL", b"5;a\x00\r\nhello\r\n" + _END),
    ("an extension with DEL", b"5;a\x7f\r\nhello\r\n" + _END),
    ("an extension without a name", b"5;\r\nhello\r\n" + _END),
    ("an extension with no value behind =", b"5;a=\r\nhello\r\n" + _END),
    ("an extension with an open quote", b'5;a="b\r\nhello\r\n' + _END),
    ("an extension with a line end in quotes", b'5;a="b\r\nhello"\r\n' + _END),
    ("white space before an extension", b"5 ;a=b\r\nhello\r\n" + _END),
    ("white space inside an extension", b"5;a = b\r\nhello\r\n" + _END),
    ("a comma for a semicolon", b"5,a=b\r\nhello\r\n" + _END),
    ("an extension of the last chunk with a bare LF", _HELLO + b"0;\n\r\n\r\n"),
    ("trailer: Content-Length", _HELLO + b"0\r\nContent-Length: 5\r\n\r\n"),
    ("trailer: Transfer-Encoding", _HELLO + b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("trailer: Host", _HELLO + b"0\r\nHost: b\r\n\r\n"),
    ("trailer: Authorization", _HELLO + b"0\r\nAuthorization: Bearer x\r\n\r\n"),
    ("trailer: Cookie", _HELLO + b"0\r\nCookie: a=b\r\n\r\n"),
    ("trailer: Connection", _HELLO + b"0\r\nConnection: close\r\n\r\n"),
    ("trailer: Content-Type", _HELLO + b"0\r\nContent-Type: text/html\r\n\r\n"),
    ("trailer: X-Forwarded-For", _HELLO + b"0\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n"),
    ("trailer: content_length", _HELLO + b"0\r\nContent_Length: 5\r\n\r\n"),
    ("trailer: a space before the colon", _HELLO + b"0\r\nX-A : b\r\n\r\n"),
    ("trailer: folded", _HELLO + b"0\r\nX-A: b\r\n c\r\n\r\n"),
    ("trailer: a bare LF", _HELLO + b"0\r\nX-A: b\nX-B: c\r\n\r\n"),
    ("trailer: a bare CR", _HELLO + b"0\r\nX-A: b\rX-B: c\r\n\r\n"),
    ("trailer: no colon", _HELLO + b"0\r\nX-A\r\n\r\n"),
    ("trailer: a request", _HELLO + b"0\r\n" + _NEXT),
    ("trailer: more than the limit", _HELLO + b"0\r\n" + b"X-A: b\r\n" * 33 + b"\r\n"),
    ("trailer: longer than the limit", _HELLO + b"0\r\nX-A: " + b"b" * 9000 + b"\r\n\r\n"),
    ("trailer: without an end", _HELLO + b"0\r\nX-A: " + b"b" * 9000),
]

_SENT: list[tuple[str, bytes, bytes]] = [
    ("digits in upper case", b"A\r\n0123456789\r\n" + _END, b"a\r\n0123456789\r\n" + _END),
    ("digits in lower case", b"a\r\n0123456789\r\n" + _END, b"a\r\n0123456789\r\n" + _END),
    ("leading zeros in a size", b"0005\r\nhello\r\n" + _END, _HELLO + _END),
    ("zeros as the last size", _HELLO + b"000\r\n\r\n", _HELLO + _END),
    ("only the last chunk", _END, _END),
    ("a chunk that looks like a chunk", b"5\r\n0\r\n\r\n\r\n" + _END, b"5\r\n0\r\n\r\n\r\n" + _END),
    ("an extension", b"5;a=b\r\nhello\r\n" + _END, _HELLO + _END),
    ("an extension without a value", b"5;a\r\nhello\r\n" + _END, _HELLO + _END),
    ("an extension in quotes", b'5;a="b;c \\" d"\r\nhello\r\n' + _END, _HELLO + _END),
    ("two extensions", b"5;a=b;c\r\nhello\r\n" + _END, _HELLO + _END),
    ("an extension of the last chunk", _HELLO + b"0;a=b\r\n\r\n", _HELLO + _END),
    ("a trailer", _HELLO + b"0\r\nX-Sum: 1\r\n\r\n", _HELLO + b"0\r\nx-sum: 1\r\n\r\n"),
    (
        "the trailer of a digest",
        _HELLO + b"0\r\nContent-Digest: sha-256=:x:\r\n\r\n",
        _HELLO + b"0\r\ncontent-digest: sha-256=:x:\r\n\r\n",
    ),
]

CASES: list[Case] = [
    *(refused(f"chunk: {name}", _HEAD + body) for name, body in _REFUSED),
    *(sent(f"chunk: {name}", _HEAD + body, _OUT + out) for name, body, out in _SENT),
    sent("chunk: a request behind the last one", _HEAD + _HELLO + _END + _NEXT, _OUT + _HELLO + _END, _NEXT),
    sent(
        "chunk: a request behind a trailer",
        _HEAD + _HELLO + b"0\r\nX-A: b\r\n\r\n" + _NEXT,
        _OUT + _HELLO + b"0\r\nx-a: b\r\n\r\n",
        _NEXT,
    ),
    sent("chunk: an empty line behind the last one", _HEAD + _END + b"\r\n", _OUT + _END, b"\r\n"),
]
