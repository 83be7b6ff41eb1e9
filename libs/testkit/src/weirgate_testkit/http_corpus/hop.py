"""Fields of one hop: RFC 9110 section 7.6.1; "Abusing HTTP hop-by-hop request headers" (N. Davison, 2019)."""

from weirgate_testkit.http_corpus.case import Case, refused, sent

_START = b"GET / HTTP/1.1\r\nHost: a\r\n"

_REFUSED: list[bytes] = [
    b"Connection: Host",
    b"Connection: close, Authorization",
    b"Connection: Cookie",
    b"Connection: Content-Type",
    b"Connection: Content-Encoding",
    b"Connection: X-Forwarded-For",
    b"Connection: X-Real-IP",
    b"Connection: close\r\nConnection: Authorization",
    b"Connection: AUTHORIZATION",
    b"Connection: close,\tcookie\t,x",
    b"Connection: x_forwarded_for",
    b"Connection: Range",
    b"Connection: If-None-Match",
    b"Connection: close x",
    b'Connection: "close"',
    b"Connection: close;q=1",
    b"Connection: caf\xc3\xa9",
]

_SENT: list[tuple[bytes, bytes]] = [
    (b"Connection: close", b""),
    (b"Connection: keep-alive\r\nKeep-Alive: timeout=5", b""),
    (b"Connection: X-A\r\nX-A: b\r\nX-B: c", b"x-b: c\r\n"),
    (b"X-A: b\r\nConnection: x-a", b""),
    (b"Connection: , close ,,", b""),
    (b"Connection:", b""),
    (b"Connection: TE\r\nTE: trailers", b""),
    (b"TE: trailers\r\nTrailer: X-A", b""),
    (b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk", b""),
    (b"Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5", b""),
]

CASES: list[Case] = [
    *(refused(f"hop: {lines.decode('latin-1')}", _START + lines + b"\r\n\r\n") for lines in _REFUSED),
    *(
        sent(
            f"hop: {lines.decode()}, sent",
            _START + lines + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: a\r\n" + out + b"\r\n",
        )
        for lines, out in _SENT
    ),
]
