"""The demo: upstreams to reach, rules to reach them by, and agents that try."""

from weirgate_embedded.demo.api_upstream import APIS
from weirgate_embedded.demo.shop import publish, seed, upstreams

__all__ = ["APIS", "publish", "seed", "upstreams"]
