"""A body nobody here can read."""


class BodyUnreadable(Exception):
    """The type, charset or coding of a body cannot be read; the plan's ``unread`` says what becomes of it.

    The reason holds nothing of the body.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
