"""``python -m weirgate_ingress``."""

from weirgate_chassis.service import run
from weirgate_ingress.service import IngressService
from weirgate_ingress.settings import IngressSettings

if __name__ == "__main__":
    run(IngressService, IngressSettings)
