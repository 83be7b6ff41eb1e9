"""The plan and the answer do not fit."""


class PlanMismatch(Exception):
    """The plan does not cover what comes back; the answer stops. The reason holds no value."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
