"""The demo: a shop to reach, rules to reach it by, and agents that try."""

from weirgate_embedded.demo.shop import publish, seed, upstreams

__all__ = ["publish", "seed", "upstreams"]
