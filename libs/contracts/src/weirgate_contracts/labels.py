"""Labels the content detectors know: what masking may find in a cell, and what policy may unmask."""

DETECTOR_LABELS: tuple[str, ...] = (
    "pii.email",
    "pii.phone",
    "pii.ssn",
    "pii.ip",
    "payment.card",
    "payment.iban",
    "secret.aws_key",
    "secret.jwt",
    "secret.private_key",
    "secret.token",
)
"""One label for each kind of content a detector recognises. Policy answers ``unmask`` for every one of them."""
