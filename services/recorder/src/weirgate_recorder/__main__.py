"""``python -m weirgate_recorder``."""

import os

from weirgate_chassis.service import run
from weirgate_recorder.service import RecorderService
from weirgate_recorder.settings import RecorderSettings

POLITENESS = 10
"""Added to the process's niceness: nothing waits for the recorder, while agents wait for what shares its
cores."""

if __name__ == "__main__":
    os.nice(POLITENESS)
    run(RecorderService, RecorderSettings)
