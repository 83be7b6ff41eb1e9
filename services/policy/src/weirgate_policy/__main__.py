"""``python -m weirgate_policy``."""

from weirgate_chassis.service import run
from weirgate_policy.service import PolicyService
from weirgate_policy.settings import PolicySettings

if __name__ == "__main__":
    run(PolicyService, PolicySettings)
