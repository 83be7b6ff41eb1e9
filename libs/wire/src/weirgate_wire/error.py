"""Whose fault it is: the two errors every codec raises."""


class PeerError(Exception):
    """A peer broke the protocol: close, and record it. The text holds no payload and is fit for an
    operator's log."""


class UsageError(Exception):
    """We used the codec wrongly: a bug of ours. Never caught to carry on."""
