"""The event bus: a port, a memory double, JetStream."""
