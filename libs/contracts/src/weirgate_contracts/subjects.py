"""Subjects and streams: who may write what. ``deploy/nats`` turns this into permissions."""

AUDIT_STREAM = "AUDIT"
AUDIT_SUBJECTS = "audit.>"
RECORDING_STREAM = "RECORDING"
RECORDING_SUBJECTS = "recording.>"
STORED_PREFIX = "stored."
"""The AUDIT stream republishes under this prefix what it has stored."""

INTERCEPTED = "audit.operation.intercepted.*.*"

WRITES: dict[str, tuple[str, ...]] = {
    "ingress": (
        "audit.session.*.*.*",
        "audit.operation.intercepted.*.*",
        "audit.operation.finished.*.*",
        "audit.operation.failed.*.*",
        "audit.operation.abandoned.*.*",
        "audit.operation.deferred.*.*",
        "audit.operation.refused.*.*",
        "recording.*.*",
    ),
    "policy": (
        "audit.operation.allowed.*.*",
        "audit.operation.denied.*.*",
        "audit.operation.held.*.*",
        "audit.catalog.observed.*",
        "audit.grant.used.*",
    ),
    "masking": ("audit.operation.planned.*.*",),
    "approval": ("audit.approval.*.*.*.*",),
    "recorder": ("audit.log.checkpoint", "audit.log.degraded"),
    "console": ("audit.config.*.published.*", "audit.admin.*.*", "control.session.kill.*.*"),
}
"""Every subject a service may publish on, beside its own inbox and the JetStream calls it needs to read."""
