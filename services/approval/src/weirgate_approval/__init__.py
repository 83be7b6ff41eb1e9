"""Holds operations for people and decides once."""
