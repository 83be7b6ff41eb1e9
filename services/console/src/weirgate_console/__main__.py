"""``python -m weirgate_console``."""

from weirgate_chassis.service import run
from weirgate_console.service import ConsoleService
from weirgate_console.settings import ConsoleSettings

if __name__ == "__main__":
    run(ConsoleService, ConsoleSettings)
