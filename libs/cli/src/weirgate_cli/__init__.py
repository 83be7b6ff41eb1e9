"""The weirgate command."""
