"""Bytes to messages and back, per protocol."""
