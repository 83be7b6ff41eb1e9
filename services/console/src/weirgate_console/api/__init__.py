"""The REST of the console, version 1."""
