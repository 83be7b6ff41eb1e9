"""Malformed and ambiguous HTTP/1.1: what must be refused, and what else is sent on, byte for byte."""

from weirgate_testkit.http_corpus import chunk, field, framing, hop, host, response, start_line, target
from weirgate_testkit.http_corpus.case import Case

__all__ = ["CASES", "Case"]

CASES: list[Case] = [
    *start_line.CASES,
    *field.CASES,
    *framing.CASES,
    *chunk.CASES,
    *target.CASES,
    *host.CASES,
    *hop.CASES,
    *response.CASES,
]
