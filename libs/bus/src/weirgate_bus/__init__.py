"""The event bus: a port, a memory double, JetStream."""

from weirgate_bus.port import (
    Batch,
    Bus,
    BusConflict,
    BusDenied,
    BusError,
    BusFull,
    BusTooLarge,
    BusUnavailable,
    Delivery,
    Expect,
    Stored,
    Subscription,
)

__all__ = [
    "Batch",
    "Bus",
    "BusConflict",
    "BusDenied",
    "BusError",
    "BusFull",
    "BusTooLarge",
    "BusUnavailable",
    "Delivery",
    "Expect",
    "Stored",
    "Subscription",
]
