"""What an agent takes, and what of it an upstream is told."""

import pytest

from weirgate_wire.http.accept import accepted
from weirgate_wire.http.coding import CODINGS


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ([], "identity"),
        ([""], "identity"),
        (["gzip, deflate, br, zstd"], "gzip, deflate, br, zstd"),
        (["zstd", "br ;Q=0.5, GZIP;q=0.123"], "gzip;q=0.123, br;q=0.5, zstd"),
        (["gzip;q=0, br;q=0.000, *;q=1"], "deflate, zstd"),
        (["*"], "gzip, deflate, br, zstd"),
        (["*;q=0.1, identity"], "gzip;q=0.1, deflate;q=0.1, br;q=0.1, zstd;q=0.1"),
        (["x-gzip"], "gzip"),
        (["identity, compress, dcb, brotli, gzips"], "identity"),
        (["gzip;q=2, br;q=, zstd;level=3, deflate;q=-1, ;, é"], "identity"),
        (["gzip;q=0, gzip"], "identity"),
    ],
)
def test_an_upstream_is_told_what_the_agent_takes_of_what_is_read(fields: list[str], told: str) -> None:
    assert accepted(fields, CODINGS) == told
