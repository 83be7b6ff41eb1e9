"""`python -m tests.bench.http_head`: our HTTP codec beside h11, in one run: heads/s, bodies in chunks, and what h11
lets through.

h11 is given its connections ready-made, ours makes its reader anew for every head. Best of several turns, taken in
turn, so that a machine that changes its speed changes all of them.
"""

import time
from collections import Counter
from collections.abc import Callable

import h11

from weirgate_testkit.http_corpus import CASES, Case
from weirgate_wire.http.check import request_check
from weirgate_wire.http.framing import (
    LAST_CHUNK,
    BodyReader,
    Framing,
    chunk,
    hop_by_hop,
    request_framing,
    response_framing,
)
from weirgate_wire.http.head import HeadReader
from weirgate_wire.http.target import read_target

HEADS = 5000
TURNS = 5

REQUEST = (
    b"POST /v1/customers/1842/orders?expand=items&limit=20 HTTP/1.1\r\n"
    b"Host: api.example.com\r\nUser-Agent: python-httpx/0.28.1\r\nAccept: application/json\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n"
    b"Content-Length: 0\r\nAuthorization: Bearer 6f1c9a7be05d4d0f8e2b3a5c7d9e1f20\r\n"
    b"X-Request-Id: 5a1c1c2e-8a7c-4f5e-9f57-0d5d3b2f5a11\r\nIdempotency-Key: 8d1f0a52\r\n"
    b"Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nX-Tenant: acme\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: nginx/1.27.0\r\n"
    b"Content-Type: application/json; charset=utf-8\r\nContent-Length: 0\r\nConnection: keep-alive\r\n"
    b'Vary: Accept-Encoding\r\nCache-Control: no-store, max-age=0\r\nETag: W/"33a64df551425fcc55e4d42a"\r\n'
    b"Strict-Transport-Security: max-age=63072000\r\nX-Content-Type-Options: nosniff\r\n"
    b"X-Request-Id: 5a1c1c2e-8a7c-4f5e-9f57-0d5d3b2f5a11\r\nX-Ratelimit-Remaining: 118\r\n\r\n"
)


def our_request() -> None:
    """Read a request head."""
    reader = HeadReader()
    reader.feed(REQUEST)
    assert reader.request()


def our_whole_request() -> None:
    """Read a request head, check it, bring its target to normal form, frame it and write it."""
    reader = HeadReader()
    reader.feed(REQUEST)
    head = reader.request()
    assert head
    request_check(head)
    read_target(head.target)
    request_framing(head)
    dropped = hop_by_hop(head.headers)
    head.with_headers([one for one in head.headers if one[0] not in dropped]).encode()


def our_response() -> None:
    """Read a response head."""
    reader = HeadReader()
    reader.feed(RESPONSE)
    assert reader.response()


def our_whole_response() -> None:
    """Read a response head, frame it and write it."""
    reader = HeadReader()
    reader.feed(RESPONSE)
    head = reader.response()
    assert head
    response_framing(head, method="GET")
    dropped = hop_by_hop(head.headers)
    head.with_headers([one for one in head.headers if one[0] not in dropped]).encode()


def their_agents(count: int) -> list[h11.Connection]:
    """Connections that wait for a request."""
    return [h11.Connection(h11.SERVER) for _ in range(count)]


def their_upstreams(count: int, method: str = "GET") -> list[h11.Connection]:
    """Connections that wait for a response."""
    peers = [h11.Connection(h11.CLIENT) for _ in range(count)]
    for peer in peers:
        peer.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        peer.send(h11.EndOfMessage())
    return peers


def rate(one: Callable[[], None]) -> float:
    """Heads/s of one turn."""
    begin = time.perf_counter()
    for _ in range(HEADS):
        one()
    return HEADS / (time.perf_counter() - begin)


def their_rate(peers: list[h11.Connection], raw: bytes) -> float:
    """Heads/s of one turn of h11."""
    begin = time.perf_counter()
    for peer in peers:
        peer.receive_data(raw)
        peer.next_event()
    return len(peers) / (time.perf_counter() - begin)


def blocks() -> list[bytes]:
    """A body of 64 MiB in chunks of 16 KiB, as 64 KiB reads of a socket cut it."""
    raw = chunk(b"x" * 16 * 1024) * (64 * 1024 // 16) + LAST_CHUNK
    return [raw[at : at + 64 * 1024] for at in range(0, len(raw), 64 * 1024)]


def our_body(given: list[bytes]) -> float:
    """MiB/s of one body."""
    begin = time.perf_counter()
    body = BodyReader(Framing("chunked"))
    for block in given:
        body.feed(block)
    assert body.done
    return 64 / (time.perf_counter() - begin)


def their_body(given: list[bytes]) -> float:
    """MiB/s of one body, read by h11."""
    (peer,) = their_upstreams(1)
    peer.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    begin = time.perf_counter()
    for block in given:
        peer.receive_data(block)
        while peer.next_event() is not h11.NEED_DATA and peer.their_state is not h11.DONE:
            pass
    assert peer.their_state is h11.DONE
    return 64 / (time.perf_counter() - begin)


def accepted_by_h11(case: Case) -> bool:
    """Whether h11 reads the whole message of the case."""
    peer = their_agents(1)[0] if case.side == "request" else their_upstreams(1, case.method)[0]
    try:
        peer.receive_data(case.raw)
        while True:
            event = peer.next_event()
            if isinstance(event, h11.EndOfMessage | h11.InformationalResponse):
                return True
            if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return True
            if event is h11.NEED_DATA:
                peer.receive_data(b"")
    except (h11.RemoteProtocolError, RuntimeError):
        return False


def main() -> None:
    """Print the figures."""
    best: Counter[str] = Counter()
    for _ in range(TURNS):
        for name, figure in (
            ("request head, ours", rate(our_request)),
            ("request head, h11", their_rate(their_agents(HEADS), REQUEST)),
            ("request judged and written, ours", rate(our_whole_request)),
            ("response head, ours", rate(our_response)),
            ("response head, h11", their_rate(their_upstreams(HEADS), RESPONSE)),
            ("response framed and written, ours", rate(our_whole_response)),
        ):
            best[name] = max(best[name], int(figure))
    for name, figure in best.items():
        print(f"{name:36} {figure:8,} heads/s")
    given = blocks()
    ours = max(our_body(given) for _ in range(TURNS))
    theirs = max(their_body(given) for _ in range(TURNS))
    print(f"body in chunks of 16 KiB: ours {ours:,.0f} MiB/s, h11 {theirs:,.0f} MiB/s")
    refused = [case for case in CASES if case.sent is None]
    through = [case.name.encode("unicode_escape").decode() for case in refused if accepted_by_h11(case)]
    groups = Counter(name.partition(":")[0] for name in through)
    print(
        f"\n{len(CASES)} cases, {len(refused)} refused by us, {len(through)} of these read by h11: {dict(groups)}"
    )
    for name in through:
        print(" ", name)


if __name__ == "__main__":
    main()
