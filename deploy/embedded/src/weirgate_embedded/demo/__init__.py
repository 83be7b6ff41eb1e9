"""The demo: a shop to reach, rules to reach it by, and agents that try."""

from weirgate_embedded.demo.shop import crm_child, publish, seed, upstreams

__all__ = ["crm_child", "publish", "seed", "upstreams"]
