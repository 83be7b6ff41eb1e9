"""Where a body ends: RFC 9112 section 6; CL.TE, TE.CL, TE.TE, CL.0 and 0.CL.

"HTTP Request Smuggling" (Watchfire, 2005), "HTTP Desync Attacks" (J. Kettle, 2019) and its list of obfuscations,
"Browser-Powered Desync Attacks" (2022), "HTTP/1.1 must die" (2025).
"""

from weirgate_testkit.http_corpus.case import Case, refused, sent

_POST = b"POST /p HTTP/1.1\r\nHost: a\r\n"
_OUT = b"POST /p HTTP/1.1\r\nhost: a\r\n"
_CHUNKED = _OUT + b"transfer-encoding: chunked\r\n\r\n"
_BODY = b"5\r\nhello\r\n0\r\n\r\n"

# Every one is followed by a body that is well-formed in chunks.
_CODINGS: list[tuple[str, bytes]] = [
    ("CL.TE", b"Content-Length: 6\r\nTransfer-Encoding: chunked"),
    ("TE.CL", b"Transfer-Encoding: chunked\r\nContent-Length: 4"),
    ("CL.TE with a length of 0", b"Content-Length: 0\r\nTransfer-Encoding: chunked"),
    ("CL.TE with a malformed length", b"Content-Length: x\r\nTransfer-Encoding: chunked"),
    ("TE.TE, chunked twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    ("TE.TE, a second unknown", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x"),
    ("TE.TE, a first unknown", b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked"),
    ("TE.TE, identity second", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
    ("xchunked", b"Transfer-Encoding: xchunked"),
    ("chunkedx", b"Transfer-Encoding: chunkedx"),
    ("a list with identity", b"Transfer-Encoding: identity, chunked"),
    ("a list with gzip", b"Transfer-Encoding: gzip, chunked"),
    ("chunked is not last", b"Transfer-Encoding: chunked, gzip"),
    ("chunked twice in a list", b"Transfer-Encoding: chunked, chunked"),
    ("gzip alone", b"Transfer-Encoding: gzip"),
    ("identity alone", b"Transfer-Encoding: identity"),
    ("a comma behind", b"Transfer-Encoding: chunked,"),
    ("a comma before", b"Transfer-Encoding: ,chunked"),
    ("an empty value", b"Transfer-Encoding:"),
    ("in upper case", b"Transfer-Encoding: CHUNKED"),
    ("in mixed case", b"Transfer-Encoding: chunKed"),
    ("in quotes", b'Transfer-Encoding: "chunked"'),
    ("in single quotes", b"Transfer-Encoding: 'chunked'"),
    ("with a parameter", b"Transfer-Encoding: chunked;q=1"),
    ("with a semicolon", b"Transfer-Encoding: chunked;"),
    ("a space before the colon", b"Transfer-Encoding : chunked"),
    ("a space in the name", b"Transfer Encoding: chunked"),
    ("a space before the name", b" Transfer-Encoding: chunked"),
    ("vertical tab before the value", b"Transfer-Encoding:\x0bchunked"),
    ("form feed before the value", b"Transfer-Encoding:\x0cchunked"),
    ("a NUL behind the value", b"Transfer-Encoding: chunked\x00"),
    ("a bare CR behind the value", b"Transfer-Encoding: chunked\r"),
    ("a bare LF before the value", b"Transfer-Encoding:\nchunked"),
    ("folded before the value", b"Transfer-Encoding:\r\n chunked"),
    ("folded behind the value", b"Transfer-Encoding: chunked\r\n , identity"),
    ("hidden behind a bare LF", b"X: x\nTransfer-Encoding: chunked"),
    ("hidden behind a bare CR", b"X: x\rTransfer-Encoding: chunked"),
    ("a no-break space before the value", b"Transfer-Encoding: \xa0chunked"),
    ("a byte over 0x7f behind the value", b"Transfer-Encoding: chunked\xff"),
    ("two words", b"Transfer-Encoding: cow chunked"),
    ("the name with an underscore", b"Content-Length: 5\r\nTransfer_Encoding: chunked"),
]

# Every one is followed by "hello".
_LENGTHS: list[tuple[str, bytes]] = [
    ("twice, different", b"Content-Length: 5\r\nContent-Length: 0"),
    ("twice, equal", b"Content-Length: 5\r\nContent-Length: 5"),
    ("a list, different", b"Content-Length: 5, 6"),
    ("a list, equal", b"Content-Length: 5, 5"),
    ("a list with nothing behind", b"Content-Length: 5,"),
    ("empty", b"Content-Length:"),
    ("white space", b"Content-Length: \t "),
    ("with a plus", b"Content-Length: +5"),
    ("with a minus", b"Content-Length: -5"),
    ("minus zero", b"Content-Length: -0"),
    ("hexadecimal", b"Content-Length: 0x5"),
    ("octal", b"Content-Length: 0o5"),
    ("leading zeros", b"Content-Length: 005"),
    ("two zeros", b"Content-Length: 00"),
    ("a fraction", b"Content-Length: 5.0"),
    ("an exponent", b"Content-Length: 5e0"),
    ("an underscore between digits", b"Content-Length: 1_0"),
    ("a space between digits", b"Content-Length: 5 5"),
    ("a tab between digits", b"Content-Length: 5\t5"),
    ("a word behind", b"Content-Length: 5 bytes"),
    ("a letter behind", b"Content-Length: 5a"),
    ("in quotes", b'Content-Length: "5"'),
    ("20 digits", b"Content-Length: 18446744073709551621"),
    ("a digit of another script", b"Content-Length: \xd9\xa5"),
    ("superscript five", b"Content-Length: \xb3"),
    ("a NUL behind", b"Content-Length: 5\x00"),
    ("vertical tab before", b"Content-Length:\x0b5"),
    ("a no-break space before", b"Content-Length: \xa05"),
    ("folded", b"Content-Length:\r\n 5"),
    ("a space before the colon", b"Content-Length : 5"),
    ("listed in Connection", b"Content-Length: 5\r\nConnection: Content-Length"),
    ("0.CL, hidden behind a space", b" Content-Length: 5"),
    ("0.CL, hidden behind a folded line", b"X: y\r\n Content-Length: 5"),
]

_SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"

CASES: list[Case] = [
    *(refused(f"transfer-encoding: {name}", _POST + lines + b"\r\n\r\n" + _BODY) for name, lines in _CODINGS),
    *(refused(f"content-length: {name}", _POST + lines + b"\r\n\r\nhello") for name, lines in _LENGTHS),
    refused(
        "transfer-encoding: in HTTP/1.0",
        b"POST /p HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + _BODY,
    ),
    refused("content-length: the peer closes too early", _POST + b"Content-Length: 5\r\n\r\nhell"),
    refused(
        "content-length: TRACE with a body", b"TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
    ),
    refused(
        "content-length: CONNECT with a body",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    ),
    refused(
        "transfer-encoding: CONNECT with a body",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + _BODY,
    ),
    sent(
        "transfer-encoding: as it should be",
        _POST + b"Transfer-Encoding: chunked\r\n\r\n" + _BODY,
        _CHUNKED + _BODY,
    ),
    sent(
        "transfer-encoding: white space around the value",
        _POST + b"Transfer-Encoding: \t chunked \t\r\n\r\n" + _BODY,
        _CHUNKED + _BODY,
    ),
    sent(
        "transfer-encoding: the name in any case",
        _POST + b"tRANSFER-eNCODING: chunked\r\n\r\n" + _BODY,
        _CHUNKED + _BODY,
    ),
    sent(
        "transfer-encoding: listed in Connection",
        _POST + b"Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n\r\n" + _BODY,
        _CHUNKED + _BODY,
    ),
    sent(
        "content-length: as it should be",
        _POST + b"Content-Length: 5\r\n\r\nhello",
        _OUT + b"content-length: 5\r\n\r\nhello",
    ),
    sent(
        "content-length: nothing",
        _POST + b"Content-Length: 0\r\n\r\n" + _SMUGGLED,
        _OUT + b"content-length: 0\r\n\r\n",
        _SMUGGLED,
    ),
    sent("content-length: none, so no body", _POST + b"\r\n" + _SMUGGLED, _OUT + b"\r\n", _SMUGGLED),
    sent(
        "content-length: shorter than what follows",
        _POST + b"Content-Length: 5\r\n\r\nhello" + _SMUGGLED,
        _OUT + b"content-length: 5\r\n\r\nhello",
        _SMUGGLED,
    ),
    sent(
        "content-length: CL.0, a request as the body of GET",
        b"GET /p HTTP/1.1\r\nHost: a\r\nContent-Length: 32\r\n\r\n" + _SMUGGLED,
        b"GET /p HTTP/1.1\r\nhost: a\r\ncontent-length: 32\r\n\r\n" + _SMUGGLED,
    ),
    sent(
        "content-length: in HTTP/1.0",
        b"POST /p HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",
        b"POST /p HTTP/1.0\r\ncontent-length: 1\r\n\r\nx",
    ),
]
