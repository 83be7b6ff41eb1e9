"""The pure gates: messages and verdicts in, effects out."""
