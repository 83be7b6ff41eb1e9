"""``python -m weirgate_recorder``."""

from weirgate_chassis.service import run
from weirgate_recorder.service import RecorderService
from weirgate_recorder.settings import RecorderSettings

if __name__ == "__main__":
    run(RecorderService, RecorderSettings)
