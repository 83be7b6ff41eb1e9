"""Masking plans applied to rows and text."""
