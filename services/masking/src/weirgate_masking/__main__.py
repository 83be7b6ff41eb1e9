"""``python -m weirgate_masking``."""

from weirgate_chassis.service import run
from weirgate_masking.service import MaskingService
from weirgate_masking.settings import MaskingSettings

if __name__ == "__main__":
    run(MaskingService, MaskingSettings)
