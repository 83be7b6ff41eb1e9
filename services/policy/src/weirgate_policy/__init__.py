"""Judges every operation."""
