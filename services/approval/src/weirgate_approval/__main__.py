"""``python -m weirgate_approval``."""

from weirgate_approval.service import ApprovalService
from weirgate_chassis.service import run
from weirgate_chassis.settings import ServiceSettings

if __name__ == "__main__":
    run(ApprovalService, ServiceSettings)
